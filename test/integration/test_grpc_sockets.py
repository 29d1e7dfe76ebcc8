"""gRPC of model servers on unix sockets (SAGEMAKER_TFS_GRPC_SOCKETS), and at a port where user code may want one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from support.code import add_model
from support.multi_model import MultiModelStack
from support.stack import RunningStack
from tfsd.control.health.listening import listening, listens_at
from tfsd.plan import Plan
from tfsd.run_dir import RunDir

NPY = "application/x-npy"
ENVIRON = {"SAGEMAKER_TFS_GRPC_SOCKETS": "true", "SAGEMAKER_GUNICORN_WORKERS": "1"}
BY_PORT = """
import json
import socket

def handler(data, context):
    socket.create_connection(("127.0.0.1", int(context.grpc_port)), 10).close()
    return json.dumps({"port": context.grpc_port}), "application/json"
"""


def array(*numbers: float) -> bytes:
    """A NumPy file, which is sent to the model server by gRPC."""
    file = io.BytesIO()
    np.save(file, np.array(numbers, np.float32))
    return file.getvalue()


def predicted(answer: requests.Response) -> list[float]:
    assert answer.status_code == 200, answer.text
    return [float(number) for number in np.load(io.BytesIO(answer.content))]


@pytest.fixture(scope="module")
def stack(
    models: Path, quick_model_server: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    directory = tmp_path_factory.mktemp("models")
    add_model(directory, "plain", models / "half_plus_two")
    add_model(directory, "coded", models / "half_plus_two", BY_PORT)
    environ = {
        **ENVIRON,
        "SAGEMAKER_TFS_BINARY": str(quick_model_server),
        "SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "plain",
        "SAGEMAKER_TFS_INSTANCE_COUNT": "2",
    }
    with RunningStack(tmp_path_factory.mktemp("stack"), directory, environ) as running:
        yield running


def test_a_model_without_code_has_sockets_and_no_port(stack: RunningStack) -> None:
    assert predicted(stack.invoke(array(1.0, 2.0), NPY, Accept=NPY)) == [3.5, 4.0]
    servers = stack.plan().models["plain"].servers
    assert [(server.grpc_port, listens_at(server.grpc_socket)) for server in servers] == [(0, True)] * 2
    assert all(server.ports <= listening().keys() for server in servers)


def test_user_code_finds_a_port(stack: RunningStack) -> None:
    answer = stack.invoke("{}", attributes="tfs-model-name=coded")
    ports = [str(server.grpc_port) for server in stack.plan().models["coded"].servers]
    assert answer.json()["port"] in ports


def test_a_model_server_that_is_killed_listens_there_again(stack: RunningStack) -> None:
    for server in stack.plan().models["plain"].servers:
        before = stack.kill(server.program)
        assert predicted(stack.invoke(array(1.0), NPY, Accept=NPY)) == [3.5]
        stack.wait_for(
            lambda server=server, before=before: stack.pid(server.program) not in (0, before), 60, "restarted"
        )
        stack.wait_for(lambda server=server: listens_at(server.grpc_socket), 60, "listening")


def test_of_many_models(models: Path, quick_model_server: Path, tmp_path: Path) -> None:
    with MultiModelStack(tmp_path, {**ENVIRON, "SAGEMAKER_TFS_BINARY": str(quick_model_server)}) as many:
        many.loaded("plain", many.lay("plain", models / "half_plus_two"))
        many.loaded("coded", many.lay("coded", models / "half_plus_two", BY_PORT))
        answer = many.ask("plain", array(1.0), Content_Type=NPY, Accept=NPY)
        assert predicted(answer) == [3.5]
        plan = Plan.load(RunDir(many.run_dir))
        [plain], [coded] = plan.models["plain"].servers, plan.models["coded"].servers
        assert (plain.grpc_port, listens_at(plain.grpc_socket)) == (0, True)
        assert (coded.grpc_socket, many.ask("coded").json()) == ("", {"port": str(coded.grpc_port)})
        assert many.unload("plain").status_code == 200
        many.loaded("plain", many.lay("again", models / "half_plus_two"))
        assert predicted(many.ask("plain", array(1.0), Content_Type=NPY, Accept=NPY)) == [3.5]
