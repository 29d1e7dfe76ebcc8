"""A model server whose ports stay taken is given others, and one that supervisord has lost is started again."""

from __future__ import annotations

import gevent
import pytest

from tfsd.control.health.taken_ports import TakenPorts
from tfsd.control.supervisor_client import Process, SupervisorError
from tfsd.plan import Model, ModelServer, Plan
from tfsd.run_dir import RunDir
from tfsd.stack.ports import PORT_TAKEN

PROGRAM = "model-a"


class Looks:
    def __init__(self, run_dir: RunDir) -> None:
        self.moved: list[str] = []
        self.fails = False
        self.taken = TakenPorts(run_dir, self.move)
        Plan({"a": Model("a", "/", (1,), (ModelServer(PROGRAM, 1, 2),))}, {}).save(run_dir)

    def move(self, program: str) -> None:
        self.moved.append(program)
        if self.fails:
            raise SupervisorError("supervisord does not answer")

    def look(self, *processes: Process) -> None:
        self.taken.processes_seen({process.program: process for process in processes})
        gevent.sleep(0)


@pytest.fixture
def looks(tmp_path_factory: pytest.TempPathFactory) -> Looks:
    return Looks(RunDir(tmp_path_factory.mktemp("run")))


def refused(start: int) -> Process:
    return Process(PROGRAM, "BACKOFF", 0, start, spawn_error=f"{PORT_TAKEN} 1")


def test_one_refusal_is_no_reason_to_move(looks: Looks) -> None:
    looks.look(refused(10))
    looks.look(refused(10))
    looks.look(Process(PROGRAM, "RUNNING", 7, 11))
    looks.look(refused(20))
    assert not looks.moved


def test_two_are_and_a_move_that_fails_is_tried_again(looks: Looks) -> None:
    looks.fails = True
    for start in (10, 11, 13, 16):
        looks.look(refused(start))
    assert looks.moved == [PROGRAM, PROGRAM]


def test_another_reason_not_to_start_is_none(looks: Looks) -> None:
    for start in (10, 11, 13):
        looks.look(Process(PROGRAM, "BACKOFF", 0, start, spawn_error="can't find command 'x'"))
    assert not looks.moved


def test_what_supervisord_does_not_know_is_started_again(looks: Looks) -> None:
    looks.look()
    assert looks.moved == [PROGRAM]
