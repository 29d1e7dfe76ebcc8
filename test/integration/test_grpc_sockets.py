"""gRPC of model servers on unix sockets, with a port beside, or without one (SAGEMAKER_TFS_GRPC_SOCKETS)."""

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
ONE_WORKER = {"SAGEMAKER_GUNICORN_WORKERS": "1"}
ENVIRON = {**ONE_WORKER, "SAGEMAKER_TFS_GRPC_SOCKETS": "true"}
BY_PORT = """
import json
import socket

def handler(data, context):
    socket.create_connection(("127.0.0.1", int(context.grpc_port)), 10).close()
    return json.dumps({"port": context.grpc_port}), "application/json"
"""
BY_CHANNEL = """
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

def handler(data, context):
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1.0])
    tensor.tensor_shape.dim.add(size=1)
    request = predict_pb2.PredictRequest(model_spec={"name": context.model_name}, inputs={"x": tensor})
    stub = prediction_service_pb2_grpc.PredictionServiceStub(context.channel)
    return {"y": list(stub.Predict(request, timeout=context.timeout).outputs["y"].float_val)}
"""
WITHOUT_SOCKET = """#!/usr/bin/env python3
import os
import sys

words = [word for word in sys.argv[1:] if not word.startswith("--grpc_socket_path=")]
os.execv("{binary}", ["{binary}", *words])
"""
ESTABLISHED = "01"


def array(*numbers: float) -> bytes:
    """A NumPy file, which is sent to the model server by gRPC."""
    file = io.BytesIO()
    np.save(file, np.array(numbers, np.float32))
    return file.getvalue()


def predicted(answer: requests.Response) -> list[float]:
    assert answer.status_code == 200, answer.text
    return [float(number) for number in np.load(io.BytesIO(answer.content))]


def connected_ports() -> set[int]:
    """The ports to which somebody on this machine is connected."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(words[2].rpartition(":")[2], 16) for words in lines if words[3] == ESTABLISHED}


def ask_all(stack: RunningStack) -> None:
    """Ask each model of `with_ports` for something that is asked of its model server by gRPC."""
    assert predicted(stack.invoke(array(1.0, 2.0), NPY, Accept=NPY)) == [3.5, 4.0]
    assert stack.invoke("{}", attributes="tfs-model-name=coded").json() == {"y": [3.5]}


def with_ports(directory: Path, models: Path, binary: Path) -> RunningStack:
    """A stack with a model without code and one with code, whose model servers have sockets and ports."""
    (directory / "models").mkdir()
    add_model(directory / "models", "plain", models / "half_plus_two")
    add_model(directory / "models", "coded", models / "half_plus_two", BY_CHANNEL)
    chosen = {"SAGEMAKER_TFS_BINARY": str(binary), "SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "plain"}
    return RunningStack(directory, directory / "models", {**ONE_WORKER, **chosen})


def test_workers_reach_by_its_socket_what_has_a_port_as_well(
    models: Path, quick_model_server: Path, tmp_path: Path
) -> None:
    with with_ports(tmp_path, models, quick_model_server) as stack:
        ask_all(stack)
        for model in stack.plan().models.values():
            for server in model.servers:
                assert listens_at(server.grpc_socket)
                assert server.grpc_port in listening()
                assert server.grpc_port not in connected_ports()  # though connections are kept


def test_a_model_server_that_opens_no_socket_is_reached_at_its_port(
    models: Path, quick_model_server: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old_model_server"
    old.write_text(WITHOUT_SOCKET.format(binary=quick_model_server))
    old.chmod(0o755)
    with with_ports(tmp_path, models, old) as stack:
        ask_all(stack)
        servers = [server for model in stack.plan().models.values() for server in model.servers]
        assert not any(Path(server.grpc_socket).exists() for server in servers)
        assert {server.grpc_port for server in servers} <= connected_ports()


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
        assert (listens_at(coded.grpc_socket), many.ask("coded").json()) == (
            True,
            {"port": str(coded.grpc_port)},
        )
        before = many.kill(plain.program)
        many.wait_for(lambda: many.pid(plain.program) not in (0, before), 60, "restarted")
        many.wait_for(lambda: listens_at(plain.grpc_socket), 60, "listening")
        assert many.unload("plain").status_code == 200
        assert many.trace_of("plain") == set()
        many.loaded("plain", many.lay("again", models / "half_plus_two"))
        assert predicted(many.ask("plain", array(1.0), Content_Type=NPY, Accept=NPY)) == [3.5]


def test_one_that_many_models_share(models: Path, quick_model_server: Path, tmp_path: Path) -> None:
    chosen = {"SAGEMAKER_TFS_BINARY": str(quick_model_server), "SAGEMAKER_TFS_MODELS_PER_PROCESS": "2"}
    with MultiModelStack(tmp_path, {**ENVIRON, **chosen}) as many:
        before = many.traces()
        for name in ("a", "b"):
            many.loaded(name, many.lay(name, models / "half_plus_two"))
        plan = Plan.load(RunDir(many.run_dir))
        [server] = plan.models["a"].servers
        assert plan.models["b"].servers == (server,)
        assert (server.grpc_port in listening(), listens_at(server.grpc_socket)) == (True, True)
        for name in ("a", "b"):
            assert predicted(many.ask(name, array(1.0), Content_Type=NPY, Accept=NPY)) == [3.5]
        assert server.grpc_port not in connected_ports()
        for name in ("a", "b"):
            assert many.unload(name).status_code == 200
        assert many.traces() == before
