"""What nginx and `stack` are to a worker: a client on its unix socket, and a plan."""

from __future__ import annotations

import dataclasses
import http.client
import json
import sys
from typing import Any

from gevent import socket

from tfsd.plan import Model, ModelServer, Plan, Pool


def plan_of(
    *stubs: Any, script: str | None = None, names: tuple[Any, ...] = ("half_plus_three", "half_plus_two")
) -> Plan:
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
