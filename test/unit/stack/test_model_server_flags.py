"""The flags of a model server process: what depends on how many models it may serve, and on what they bring."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfsd.plan import MAX_GRPC_CALLS, Model, ModelServer
from tfsd.run_dir import RunDir
from tfsd.settings import Settings
from tfsd.stack import model_server_flags
from tfsd.stack.ports import ports_of

RUN_DIR = RunDir(Path("/run/tfsd"))
SERVER = ModelServer("model-m", 1, 2)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    for version in (1, 2):
        (tmp_path / str(version)).mkdir()
    return Model("m", str(tmp_path), (1, 2), (SERVER,))


def flags(model: Model | None, **environ: str) -> dict[str, str]:
    settings = Settings.from_environ(environ, cpus=2)
    given = model_server_flags.flags(settings, RUN_DIR, SERVER, Path("/models.conf"), model)
    return dict(flag.removeprefix("--").split("=", 1) for flag in given)


def batching(model: Model | None) -> dict[str, str]:
    found = flags(model, SAGEMAKER_TFS_ENABLE_BATCHING="true")
    return {name: value for name, value in found.items() if "batching" in name}


def test_parameters_of_batching_come_from_the_settings(model: Model) -> None:
    expected = {"enable_batching": "true", "batching_parameters_file": "/run/tfsd/batching.conf"}
    assert batching(model) == batching(None) == expected


def test_a_model_may_bring_parameters_for_all_of_its_versions(model: Model) -> None:
    own = Path(model.base_path, "batching_parameters.pbtxt")
    own.touch()
    assert batching(model) == {"enable_batching": "true", "batching_parameters_file": str(own)}
    assert batching(None)["batching_parameters_file"] == "/run/tfsd/batching.conf"
    assert "batching_parameters_file" not in flags(model)


def test_a_version_may_bring_parameters_of_its_own(model: Model) -> None:
    Path(model.base_path, "2", "batching_params.pbtxt").touch()
    assert batching(model)["enable_per_model_batching_parameters"] == "true"


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, "0"),
        ({"SAGEMAKER_MULTI_MODEL": "true"}, "0"),
        ({"SAGEMAKER_MULTI_MODEL": "true", "SAGEMAKER_TFS_MODELS_PER_PROCESS": "2"}, "1"),
    ],
)
def test_versions_are_looked_for_again_only_where_models_come_later(
    environ: dict[str, str], seconds: str
) -> None:
    assert flags(None, **environ)["file_system_poll_wait_seconds"] == seconds


def test_the_ports_of_a_command_line_are_found_again(model: Model) -> None:
    words = model_server_flags.flags(
        Settings.from_environ({}, cpus=2), RUN_DIR, SERVER, Path("/m.conf"), model
    )
    assert ports_of(words) == [SERVER.grpc_port, SERVER.rest_port]
    assert ports_of(["nginx", "-p", "--port=", "--porter=1"]) == []


def test_a_socket_beside_the_port() -> None:
    settings = Settings.from_environ({}, cpus=2)
    assert "grpc_socket_path" not in flags(None)
    server = ModelServer("model-m", 1, 2, "/run/tfsd/sockets/model-m.sock")
    words = model_server_flags.flags(settings, RUN_DIR, server, Path("/m.conf"), None)
    assert {"--port=2", "--grpc_socket_path=/run/tfsd/sockets/model-m.sock"} < set(words)


def test_a_thread_for_each_grpc_call_of_the_workers() -> None:
    environ = {"SAGEMAKER_GUNICORN_WORKERS": "3", "SAGEMAKER_TFS_MODELS_PER_PROCESS": "5"}
    model = Model("m", "/models/m", (1,), (SERVER,))
    assert int(flags(model, **environ)["grpc_max_threads"]) >= 3 * MAX_GRPC_CALLS
    assert int(flags(None, **environ)["grpc_max_threads"]) >= 5 * 3 * MAX_GRPC_CALLS
