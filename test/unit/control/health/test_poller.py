"""Polling a stub of a model server, with a stub of supervisord: plan changes, busy and hung processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import gevent.socket
import pytest
from gevent.pywsgi import WSGIServer

from support.control import ModelServerStub
from tfsd.control.health import poller as poller_module
from tfsd.control.health.health import Health
from tfsd.control.health.heartbeat_ages import Heartbeats
from tfsd.control.health.poller import Poller
from tfsd.control.health.status_polls import StatusPolls
from tfsd.control.supervisor_client import Process, SupervisorError
from tfsd.plan import Model, ModelServer, Plan, Pool, Worker
from tfsd.run_dir import RunDir


class SupervisorStub:
    """Says that `processes` run, or raises `error`; keeps the signals that were asked for."""

    def __init__(self) -> None:
        self.found: dict[str, Process] = {}
        self.error: SupervisorError | None = None
        self.signals: list[tuple[int, str]] = []

    def processes(self) -> dict[str, Process]:
        if self.error:
            raise self.error
        return self.found

    def signal(self, process: Process, name: str) -> None:
        self.signals.append((process.pid, name))


class Polling:
    """A poller at work in this process, quick enough for a test."""

    def __init__(self, run_dir: Path, silence_limit: float) -> None:
        self.run_dir = run_dir
        self.supervisor = SupervisorStub()
        self.health = Health(
            Heartbeats(silence_limit, silence_limit),
            time.monotonic,
            needs_models=True,
            busy_limit=30,
            load_timeout=60,
        )
        self.poller = Poller(RunDir(run_dir), self.health, self.supervisor, StatusPolls({}.get).poll, 30)  # type: ignore[arg-type]
        self.crashed: list[gevent.Greenlet] = []

    def plan(self, *ports: int) -> None:
        servers = tuple(ModelServer(f"model-m-{n}", port, 0) for n, port in enumerate(ports))
        pool = Pool("default", sys.executable, (Worker("worker-0", str(self.run_dir / "socket")),))
        Plan({"m": Model("m", "/", (1,), servers)}, {"default": pool}).save(RunDir(self.run_dir))

    def start(self) -> None:
        self.poller.start(self.crashed.append)

    def until(self, condition: Callable[[], object]) -> None:
        with gevent.Timeout(20):
            while not condition():
                assert self.crashed == []
                gevent.sleep(0.01)


@pytest.fixture
def polling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Polling]:
    monkeypatch.setattr(poller_module, "INTERVAL", 0.02)
    monkeypatch.setattr(poller_module, "EAGER_INTERVAL", 0.02)
    (tmp_path / "heartbeats").mkdir()
    polling = Polling(tmp_path, silence_limit=0.3)
    yield polling
    polling.poller.stop()


def beat(polling: Polling) -> None:
    (polling.run_dir / "heartbeats" / "worker-0").touch()


def test_a_plan_that_appears_and_changes_is_followed(polling: Polling, model_server: ModelServerStub) -> None:
    polling.supervisor.found = {"worker-0": Process("worker-0", "RUNNING", 1, 0)}
    polling.start()
    assert polling.health.missing() == ["there is no plan.json in the run directory yet"]

    beat(polling)
    polling.plan(1)
    polling.until(lambda: "refused" in str(polling.health.missing()))
    polling.plan(model_server.port)
    polling.until(lambda: beat(polling) or not polling.health.missing())  # type: ignore[func-returns-value]

    (polling.run_dir / "plan.json").write_text("{")
    gevent.sleep(0.1)
    beat(polling)
    assert polling.health.missing() == []


def test_a_ping_right_after_the_start_waits_for_the_first_polls(
    polling: Polling, model_server: ModelServerStub
) -> None:
    polling.supervisor.found = {"worker-0": Process("worker-0", "RUNNING", 1, 0)}
    beat(polling)
    polling.plan(model_server.port)
    polling.start()

    polling.poller.wait_until_current()

    assert polling.health.missing() == []


def test_it_is_complete_when_everything_has_answered(polling: Polling, model_server: ModelServerStub) -> None:
    model_server.released.clear()
    polling.plan(model_server.port)
    polling.start()
    polling.poller.wait_until_current()
    assert not polling.poller.complete

    model_server.released.set()
    polling.until(lambda: polling.poller.complete)


def test_a_ping_does_not_wait_for_ever(polling: Polling, model_server: ModelServerStub) -> None:
    model_server.released.clear()
    polling.plan(model_server.port)
    polling.start()

    with gevent.Timeout(1.9):  # the platform waits 2 s
        polling.poller.wait_until_current()

    assert "not available" in polling.health.missing()[0]


def test_a_hung_worker_is_killed_once(polling: Polling, model_server: ModelServerStub) -> None:
    polling.supervisor.found = {"worker-0": Process("worker-0", "RUNNING", 77, 0)}
    beat(polling)
    polling.plan(model_server.port)
    polling.start()

    polling.until(lambda: polling.supervisor.signals)
    gevent.sleep(0.2)

    assert polling.supervisor.signals == [(77, "KILL")]


def test_a_worker_that_answers_does_not_hang_though_its_heartbeat_stands_still(
    polling: Polling, model_server: ModelServerStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    polling.supervisor.found = {"worker-0": Process("worker-0", "RUNNING", 77, 0)}
    answered: list[float] = []
    note = polling.health.heartbeats.answered
    monkeypatch.setattr(
        polling.health.heartbeats,
        "answered",
        lambda *seen: (note(*seen), answered.append(seen[1])),  # type: ignore[func-returns-value]
    )
    listener = gevent.socket.socket(gevent.socket.AF_UNIX)
    listener.bind(str(polling.run_dir / "socket"))
    listener.listen()
    worker = WSGIServer(listener, lambda environ, respond: [respond("404 Not Found", []) and b""], log=None)
    worker.start()
    polling.plan(model_server.port)
    polling.start()

    polling.until(lambda: len(answered) > 2)
    assert polling.supervisor.signals == []
    assert polling.health.missing() == []

    worker.stop()
    polling.until(lambda: polling.supervisor.signals == [(77, "KILL")])


def test_supervisord_may_be_away(polling: Polling, model_server: ModelServerStub) -> None:
    polling.supervisor.error = SupervisorError("gone")
    polling.plan(model_server.port)
    polling.start()

    polling.until(lambda: "supervisord does not answer" in polling.health.missing())


def test_a_model_server_that_computes_while_it_is_asked_is_busy(
    polling: Polling, model_server: ModelServerStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(polling.health, "server_busy", seen.append)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as burner:
        polling.supervisor.found = {"model-m-0": Process("model-m-0", "RUNNING", burner.pid, 0)}
        model_server.released.clear()
        polling.plan(model_server.port)
        polling.start()
        try:
            polling.until(lambda: seen == ["model-m-0"] * 3)
        finally:
            burner.kill()
