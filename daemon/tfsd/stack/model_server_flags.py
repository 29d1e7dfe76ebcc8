"""How a model server process is run: which program it is, its flags and its environment.

Knows both `tensorflow_model_server` and the embedded server, which take the same flags. Starts nothing.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfsd.errors import StartError
from tfsd.plan import MAX_GRPC_CALLS, Model, ModelServer
from tfsd.run_dir import RunDir
from tfsd.settings import Settings

#: A version that cannot be loaded must not keep it from serving the others; the real server has no such flag.
CONTROL_GRPC_THREADS = 16
EMBEDDED = ("-m", "tfsd.model_server", "--start_despite_load_errors")

#: Batching parameters that a model brings along: for all of its versions in place of the settings, or, by TensorFlow
#: Serving's own rule, for one version; then a version without the file is not batched.
MODEL_BATCHING_FILE = "batching_parameters.pbtxt"
VERSION_BATCHING_FILE = "batching_params.pbtxt"


class NoModelServerError(StartError):
    """The model server that is asked for, or a library that it shall load, is not there."""


def find_command(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """SAGEMAKER_TFS_BINARY, else `tensorflow_model_server` from PATH, else the embedded server.

    Raises NoModelServerError for a binary that is not there, or an op library for the embedded server.
    """
    if settings.model_server_binary:
        found = shutil.which(settings.model_server_binary, path=environ.get("PATH"))
        if not found:
            raise NoModelServerError(
                f"SAGEMAKER_TFS_BINARY={settings.model_server_binary} cannot be executed"
            )
        return [found]
    found = shutil.which("tensorflow_model_server", path=environ.get("PATH"))
    return [found] if found else [sys.executable, *EMBEDDED, *_op_libraries(settings)]


def is_embedded(command: Sequence[str]) -> bool:
    """Whether the command runs the embedded server."""
    return tuple(command[1 : 1 + len(EMBEDDED)]) == EMBEDDED


def _op_libraries(settings: Settings) -> list[str]:
    """The embedded server's flag for them, with absolute paths. It runs with this Python's packages."""
    libraries = []
    for library in settings.op_libraries:
        is_path = "/" in library or library.endswith(".so")
        if is_path and not Path(library).is_file():
            raise NoModelServerError(f"SAGEMAKER_TFS_OP_LIBRARIES names {library}, and there is no such file")
        if not is_path and importlib.util.find_spec(library.partition(".")[0]) is None:
            raise NoModelServerError(
                f"SAGEMAKER_TFS_OP_LIBRARIES names {library}, which is neither a path nor a Python package that is "
                f"installed for {sys.executable}"
            )
        libraries.append(str(Path(library).absolute()) if is_path else library)
    return [f"--op_libraries={','.join(libraries)}"] if libraries else []


def flags(
    settings: Settings, run_dir: RunDir, server: ModelServer, models_conf: Path, model: Model | None
) -> list[str]:
    """The flags of a process; `models_conf` is its `--model_config_file`.

    `model` is the only one that the process serves; None when several may share it.
    """
    given = [
        f"--port={server.grpc_port}",
        f"--rest_api_port={server.rest_port}",
        f"--grpc_max_threads={_grpc_threads(settings, model)}",
        f"--rest_api_timeout_in_ms={int(settings.request_timeout * 1000)}",
        f"--model_config_file={models_conf}",
        f"--monitoring_config_file={run_dir.monitoring_conf}",
        "--max_num_load_retries=0",
        f"--file_system_poll_wait_seconds={_poll_seconds(settings)}",
    ]
    if server.grpc_socket:
        given.append(f"--grpc_socket_path={server.grpc_socket}")
    if settings.enable_batching:
        given += _batching(run_dir, model)
    if settings.inter_op_parallelism is not None:
        given.append(f"--tensorflow_inter_op_parallelism={settings.inter_op_parallelism}")
    if settings.intra_op_parallelism is not None:
        given.append(f"--tensorflow_intra_op_parallelism={settings.intra_op_parallelism}")
    return given


def _batching(run_dir: RunDir, model: Model | None) -> list[str]:
    """The flags of batching: by the settings, unless the model brings parameters of its own."""
    parameters, own = run_dir.batching_conf, []
    if model is not None:
        base = Path(model.base_path)
        if (base / MODEL_BATCHING_FILE).is_file():
            parameters = base / MODEL_BATCHING_FILE
        if any((base / str(version) / VERSION_BATCHING_FILE).is_file() for version in model.versions):
            own = ["--enable_per_model_batching_parameters=true"]
    return ["--enable_batching=true", f"--batching_parameters_file={parameters}", *own]


def _grpc_threads(settings: Settings, model: Model | None) -> int:
    """One for each call that the workers may have under way; beyond that the model server would refuse calls."""
    models = settings.models_per_process if model is None else 1
    return settings.workers * MAX_GRPC_CALLS * models + CONTROL_GRPC_THREADS


def _poll_seconds(settings: Settings) -> int:
    """How often versions are looked for: with 0 the model server finds no model that is given to it later."""
    return 1 if settings.multi_model and settings.models_per_process > 1 else 0
