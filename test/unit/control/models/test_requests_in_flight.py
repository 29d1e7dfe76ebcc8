"""What workers say in their heartbeats, and waiting until they have nothing to do for a model."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import gevent
import pytest

from tfsd.control.models.requests_in_flight import requests_in_flight, wait_until_idle
from tfsd.control.supervisor_client import Process, SupervisorClient, SupervisorError
from tfsd.plan import Pool, Worker
from tfsd.run_dir import RunDir

POOL = Pool("default", "python", (Worker("w-0", ""), Worker("w-1", "")))


class Supervisor(SupervisorClient):
    """Says what it is told to."""

    def __init__(self) -> None:
        self.running: dict[str, Process] | None = {
            name: Process(name, "RUNNING", 1, int(time.time()) - 10) for name in ("w-0", "w-1")
        }

    def processes(self) -> dict[str, Process]:
        if self.running is None:
            raise SupervisorError("no answer")
        return self.running


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    made = RunDir(tmp_path)
    made.make(multi_model=True)
    return made


def beat(run_dir: RunDir, program: str, plan: int, **in_flight: int) -> Path:
    path = run_dir.heartbeat(program)
    path.write_text(json.dumps({"plan": plan, "in_flight": in_flight}))
    return path


def test_requests_in_flight_are_added_up(run_dir: RunDir) -> None:
    assert requests_in_flight(run_dir, [POOL]) == {}
    beat(run_dir, "w-0", 1, a=2, b=1)
    beat(run_dir, "w-1", 1, a=3)
    assert requests_in_flight(run_dir, [POOL]) == {"a": 5, "b": 1}
    run_dir.heartbeat("w-0").write_text("junk")
    assert requests_in_flight(run_dir, [POOL]) == {"a": 3}


def waits(run_dir: RunDir, supervisor: Supervisor | None = None, limit: float = 0.3) -> bool:
    """Whether a model that left with plan 7 is waited for in vain."""
    return not wait_until_idle("a", POOL, 7, run_dir, supervisor or Supervisor(), limit)


def test_requests_and_workers_that_do_not_know_yet_are_waited_for(run_dir: RunDir) -> None:
    beat(run_dir, "w-0", 7)
    beat(run_dir, "w-1", 7, a=1, b=1)
    assert waits(run_dir)
    beat(run_dir, "w-1", 6)
    assert waits(run_dir)
    beat(run_dir, "w-1", 8, b=1)
    assert not waits(run_dir)


def test_the_wait_ends_with_the_last_request(run_dir: RunDir) -> None:
    beat(run_dir, "w-0", 7)
    beat(run_dir, "w-1", 7, a=1)
    gevent.spawn_later(0.3, beat, run_dir, "w-1", 7)
    assert not waits(run_dir, limit=30)


@pytest.mark.parametrize("limit", [0.0, 0.3])
def test_workers_that_do_not_serve_are_not_waited_for(run_dir: RunDir, limit: float) -> None:
    supervisor = Supervisor()
    beat(run_dir, "w-0", 7)
    assert not waits(run_dir, supervisor, limit), "w-1 has not beaten yet"
    old = time.time() - 60
    os.utime(beat(run_dir, "w-1", 3, a=1), (old, old))
    assert not waits(run_dir, supervisor, limit), "w-1 was started anew"
    beat(run_dir, "w-1", 3, a=1)
    assert supervisor.running is not None
    supervisor.running["w-1"] = Process("w-1", "BACKOFF", 0, 0)
    assert not waits(run_dir, supervisor, limit)
    del supervisor.running["w-1"]
    assert not waits(run_dir, supervisor, limit)


def test_without_supervisord_what_the_workers_said_counts(run_dir: RunDir) -> None:
    supervisor = Supervisor()
    supervisor.running = None
    beat(run_dir, "w-0", 7)
    beat(run_dir, "w-1", 7, a=1)
    assert waits(run_dir, supervisor)
