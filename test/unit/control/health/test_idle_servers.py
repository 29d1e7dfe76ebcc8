"""Model servers that run and serve nothing are started again after a while."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tfsd.control.health import idle_servers
from tfsd.control.health.health import Health
from tfsd.control.health.heartbeat_ages import Heartbeats
from tfsd.control.health.idle_servers import IdleServers
from tfsd.control.health.model_status import VersionStatus
from tfsd.control.supervisor_client import Process, SupervisorClient
from tfsd.plan import Model, ModelServer, Plan

PATIENCE, LOAD_TIMEOUT = 60.0, 300.0
SERVING, GONE = [VersionStatus("1", "AVAILABLE")], [VersionStatus("1", "END")]


class SupervisorStub:
    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []

    def signal(self, process: Process, name: str) -> None:
        self.done.append((process.program, name))

    def start(self, process: Process) -> None:
        self.done.append((process.program, "start"))


class Endpoint:
    """A model server with the models `a` and `b`, under a clock of our own."""

    def __init__(self, grpc_port: int, grpc_socket: str = "", *, shared: bool = True) -> None:
        self.now = 0.0
        self.supervisor = SupervisorStub()
        self.back: list[str] = []
        self.process = Process("models-0", "RUNNING", 5, 0)
        self.health = Health(
            Heartbeats(PATIENCE, LOAD_TIMEOUT),
            lambda: self.now,
            needs_models=False,
            busy_limit=PATIENCE,
            load_timeout=LOAD_TIMEOUT,
        )
        servers = (ModelServer("models-0", 1, grpc_port, grpc_socket),)
        self.health.set_plan(Plan({name: Model(name, "/", (1,), servers) for name in "ab"}, {}))
        self.idle = IdleServers(
            self.health,
            cast(SupervisorClient, self.supervisor),
            lambda: self.now,
            patience=PATIENCE,
            load_timeout=LOAD_TIMEOUT,
            start_stopped=True,
            put_back=self.back.append if shared else None,
        )

    def pass_seconds(self, seconds: int, **said: list[VersionStatus]) -> None:
        """Each second the model server says what it serves, or nothing, and is looked at."""
        for _ in range(seconds):
            self.now += 1
            for model, statuses in said.items():
                self.health.server_answered(model, "models-0", statuses)
            self.idle.processes_seen({"models-0": self.process})


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Its gRPC port is open."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Endpoint(listener.getsockname()[1])


def test_one_that_serves_is_left_alone(endpoint: Endpoint) -> None:
    endpoint.pass_seconds(500, a=SERVING, b=SERVING)
    assert (endpoint.supervisor.done, endpoint.back) == ([], [])


@pytest.mark.parametrize("said", [{}, {"a": GONE, "b": []}])
def test_one_that_is_silent_or_has_nothing_is_restarted_after_the_limit(
    endpoint: Endpoint, said: dict[str, list[VersionStatus]]
) -> None:
    endpoint.pass_seconds(10, a=SERVING, b=SERVING)
    endpoint.pass_seconds(int(PATIENCE), **said)
    assert endpoint.supervisor.done == []
    endpoint.pass_seconds(10, **said)
    assert endpoint.supervisor.done == [("models-0", "KILL")]
    endpoint.process = Process("models-0", "RUNNING", 6, 0)
    endpoint.pass_seconds(int(PATIENCE), **said)
    assert len(endpoint.supervisor.done) == 1
    endpoint.pass_seconds(10, **said)
    assert len(endpoint.supervisor.done) == 2


def test_one_that_computes_is_not_silent(endpoint: Endpoint) -> None:
    for _ in range(200):
        endpoint.health.server_busy("models-0")
        endpoint.pass_seconds(1)
    assert endpoint.supervisor.done == []


def test_loading_takes_its_time(endpoint: Endpoint) -> None:
    endpoint.pass_seconds(500, a=[VersionStatus("1", "LOADING")], b=SERVING)
    assert (endpoint.supervisor.done, endpoint.back) == ([], [])


def test_one_that_has_not_opened_its_port_is_loading_as_long_as_it_computes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endpoint = Endpoint(1)
    monkeypatch.setattr(idle_servers, "cpu_seconds", lambda pid: endpoint.now / 10)
    endpoint.pass_seconds(int(LOAD_TIMEOUT))
    assert endpoint.supervisor.done == []
    endpoint.pass_seconds(int(PATIENCE) + 1)
    assert endpoint.supervisor.done == [("models-0", "KILL")]

    waiting = Endpoint(1)  # for a directory that was away
    waiting.pass_seconds(int(PATIENCE) + 10)
    assert waiting.supervisor.done == [("models-0", "KILL")]


@pytest.mark.parametrize("has_port", [True, False])
def test_whether_it_loads_is_seen_by_its_port_or_else_by_its_socket(
    monkeypatch: pytest.MonkeyPatch, short_dir: Path, has_port: bool
) -> None:
    """One that listens and serves nothing is restarted, whatever it computes."""
    path = str(short_dir / "m.sock")
    with socket.create_server(("127.0.0.1", 0)) as port, socket.socket(socket.AF_UNIX) as listener:
        if not has_port:  # else it is an old one, which does not open the socket
            listener.bind(path)
            listener.listen()
        endpoint = Endpoint(port.getsockname()[1] if has_port else 0, path)
        monkeypatch.setattr(idle_servers, "cpu_seconds", lambda pid: endpoint.now / 10)
        endpoint.pass_seconds(int(PATIENCE) + 10)
    assert endpoint.supervisor.done == [("models-0", "KILL")]


def test_one_that_is_starved_of_cpu_is_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint(0)
    monkeypatch.setattr(idle_servers, "cpu_seconds", lambda pid: 0.0)
    monkeypatch.setattr(idle_servers, "is_busy", lambda pid: True)
    endpoint.pass_seconds(int(LOAD_TIMEOUT))
    assert endpoint.supervisor.done == []
    endpoint.pass_seconds(int(PATIENCE) + 1)
    assert endpoint.supervisor.done == [("models-0", "KILL")]


def test_a_model_that_is_missing_beside_others_is_put_back(endpoint: Endpoint) -> None:
    endpoint.pass_seconds(int(PATIENCE) + 10, a=SERVING, b=GONE)
    assert (endpoint.supervisor.done, endpoint.back) == ([], ["models-0"])


def test_one_that_was_stopped_for_good_is_started(endpoint: Endpoint) -> None:
    endpoint.process = Process("models-0", "STOPPED", 0, 0)
    endpoint.pass_seconds(int(PATIENCE) + 10)
    assert endpoint.supervisor.done == [("models-0", "start")]
