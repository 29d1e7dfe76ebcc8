"""A worker in this process, on a unix socket, in front of stub model servers on real ports."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket

sys.path.insert(0, str(Path(__file__).parent))  # the tests' own modules

from stub_model_server import StubModelServer
from worker_client import Client, plan_of

from tfsd.settings import Settings
from tfsd.worker.app import Application, Invocations
from tfsd.worker.in_flight import InFlight
from tfsd.worker.modes import mode_of
from tfsd.worker.script import Script
from tfsd.worker.server import Server
from tfsd.worker.targets import Targets
from tfsd.worker.upstream.client import ModelServers


@pytest.fixture
def stub() -> Iterator[StubModelServer]:
    stub = StubModelServer()
    yield stub
    stub.die()


@pytest.fixture
def other_stub() -> Iterator[StubModelServer]:
    stub = StubModelServer()
    yield stub
    stub.die()


@pytest.fixture
def serve(tmp_path: Path, stub: StubModelServer) -> Iterator[Callable[..., Any]]:
    """`serve(handler)`, `serve(input_handler, output_handler)`, `serve()` or `serve(script=Script)`."""
    started: list[Any] = []

    def start(
        *functions: Any,
        script: Script | None = None,
        stubs: tuple[Any, ...] = (stub,),
        limit: float = 20.0,
        default_accept: str = "application/json",
        environ: dict[str, Any] | tuple[Any, ...] = (),
        capture: Any = None,
        **plan: Any,
    ) -> Client:
        if functions:
            script = Script("handler" if len(functions) == 1 else "handlers", functions)
        path = str(tmp_path / f"worker{len(started)}.sock")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(16)
        made = plan_of(*stubs, **plan)
        servers = ModelServers(made.models)
        environ = {"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": default_accept, **dict(environ)}
        mode = mode_of(script, Settings.from_environ(environ, cpus=1))
        in_flight = InFlight()
        invocations = Invocations(Targets(made, "mine", servers), mode, limit, in_flight, capture=capture)
        server = Server(listener, Application(invocations), in_flight)
        server.start()
        client = Client(path)
        client.server, client.servers, client.capture = server, servers, capture
        started.append(client)
        return client

    yield start
    for client in started:
        client.connection.close()
        client.server.stop(timeout=0)
        client.servers.close_idle()


@pytest.fixture(autouse=True)
def _not_forever() -> Iterator[None]:
    """A test that waits for what never comes fails instead of hanging."""
    with gevent.Timeout(60, RuntimeError("the test did not end")):
        yield
