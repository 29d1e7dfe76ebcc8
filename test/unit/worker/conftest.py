"""A worker in this process, on a unix socket, in front of stub model servers on real ports."""

from __future__ import annotations

import dataclasses
import http.client
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket

from tfsd.plan import Model, ModelServer, Plan, Pool
from tfsd.worker.app import Invocations, make_app
from tfsd.worker.client import ModelServers
from tfsd.worker.modes import mode_of
from tfsd.worker.script import Script
from tfsd.worker.server import Server
from tfsd.worker.targets import Targets

_spec = importlib.util.spec_from_file_location(
    "stub_model_server", Path(__file__).with_name("stub_model_server.py")
)
_module = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _module
_spec.loader.exec_module(_module)

HANDLERS = Path(__file__).parents[2] / "resources" / "handlers"


@pytest.fixture
def stub():
    stub = _module.StubModelServer()
    yield stub
    stub.die()


@pytest.fixture
def other_stub():
    stub = _module.StubModelServer()
    yield stub
    stub.die()


def plan_of(*stubs: Any, script: str | None = None, names=("half_plus_three", "half_plus_two")) -> Plan:
    """Two models of pool `mine` on the same stubs, the first the default; one of another pool."""
    servers = tuple(ModelServer(f"model-{i}", stub.port, 9000 + i) for i, stub in enumerate(stubs))
    models = {name: Model(name, "/models", (3, 5), servers, "mine") for name in names}
    models["elsewhere"] = Model("elsewhere", "/models", (1,), servers, "other")
    return Plan(models, {"mine": Pool("mine", sys.executable, (), script)}, names[0])


@dataclasses.dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Speaks HTTP to a worker's unix socket, as nginx does, on one kept connection."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.connection = http.client.HTTPConnection("localhost")

    def request(self, method: str, path: str, body: Any = None, headers: Any = None) -> Response:
        response = self.open(method, path, body, headers)
        return Response(response.status, dict(response.getheaders()), response.read())

    def open(self, method: str, path: str, body: Any = None, headers: Any = None) -> http.client.HTTPResponse:
        if self.connection.sock is None:
            self.connection.sock = socket.socket(socket.AF_UNIX)
            self.connection.sock.connect(self.path)
        self.connection.request(method, path, body, headers or {})
        return self.connection.getresponse()

    def invoke(self, body: Any = b"{}", **headers: str) -> Response:
        """POST /invocations; header names are written with underscores."""
        return self.request(
            "POST", "/invocations", body, {name.replace("_", "-"): value for name, value in headers.items()}
        )

    def ask(self, attributes: str, body: Any = b"{}") -> Response:
        return self.invoke(body, X_Amzn_SageMaker_Custom_Attributes=attributes)


@pytest.fixture
def serve(tmp_path, stub):
    """`serve(handler)`, `serve(input_handler, output_handler)`, `serve()` or `serve(script=Script)`."""
    started = []

    def start(*functions, script=None, stubs=(stub,), limit=20.0, default_accept="application/json", **plan):
        if functions:
            script = Script("handler" if len(functions) == 1 else "handlers", functions)
        path = str(tmp_path / f"worker{len(started)}.sock")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(16)
        made = plan_of(*stubs, **plan)
        servers = ModelServers(made.models)
        invocations = Invocations(Targets(made, "mine", servers), mode_of(script, default_accept), limit)
        server = Server(listener, make_app(invocations))
        server.start()
        client = Client(path)
        client.server, client.servers = server, servers
        started.append(client)
        return client

    yield start
    for client in started:
        client.connection.close()
        client.server.stop(timeout=0)
        client.servers.close_idle()


@pytest.fixture(autouse=True)
def _not_forever():
    """A test that waits for what never comes fails instead of hanging."""
    with gevent.Timeout(60, RuntimeError("the test did not end")):
        yield
