"""How a model server process is run: which program it is, its flags and its environment.

Knows both `tensorflow_model_server` and the embedded server, which take the same flags. Starts nothing.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfsd.errors import StartError
from tfsd.plan import ModelServer
from tfsd.run_dir import RunDir
from tfsd.settings import Settings

#: A version that cannot be loaded must not keep it from serving the others; the real server has no such flag.
EMBEDDED = ("-m", "tfsd.model_server", "--start_despite_load_errors")


class NoModelServerError(StartError):
    """The model server that is asked for is not there."""


def find_command(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """SAGEMAKER_TFS_BINARY, else `tensorflow_model_server` from PATH, else the embedded server.

    Raises NoModelServerError for a binary that is not there.
    """
    if settings.model_server_binary:
        found = shutil.which(settings.model_server_binary, path=environ.get("PATH"))
        if not found:
            raise NoModelServerError(
                f"SAGEMAKER_TFS_BINARY={settings.model_server_binary} cannot be executed"
            )
        return [found]
    found = shutil.which("tensorflow_model_server", path=environ.get("PATH"))
    return [found] if found else [sys.executable, *EMBEDDED]


def is_embedded(command: Sequence[str]) -> bool:
    """Whether the command runs the embedded server."""
    return tuple(command[1:]) == EMBEDDED


def flags(settings: Settings, run_dir: RunDir, server: ModelServer, models_conf: Path) -> list[str]:
    """The flags of a process; `models_conf` is its `--model_config_file`."""
    given = [
        f"--port={server.grpc_port}",
        f"--rest_api_port={server.rest_port}",
        f"--rest_api_timeout_in_ms={int(settings.request_timeout * 1000)}",
        f"--model_config_file={models_conf}",
        f"--monitoring_config_file={run_dir.monitoring_conf}",
        "--max_num_load_retries=0",
        f"--file_system_poll_wait_seconds={_poll_seconds(settings)}",
    ]
    if settings.enable_batching:
        given += ["--enable_batching=true", f"--batching_parameters_file={run_dir.batching_conf}"]
    if settings.inter_op_parallelism is not None:
        given.append(f"--tensorflow_inter_op_parallelism={settings.inter_op_parallelism}")
    if settings.intra_op_parallelism is not None:
        given.append(f"--tensorflow_intra_op_parallelism={settings.intra_op_parallelism}")
    return given


def _poll_seconds(settings: Settings) -> int:
    """How often versions are looked for: with 0 the model server finds no model that is given to it later."""
    return 1 if settings.multi_model and settings.models_per_process > 1 else 0
