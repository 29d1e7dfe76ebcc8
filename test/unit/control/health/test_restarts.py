"""Counting the programs that were started again."""

from __future__ import annotations

import pytest

from tfsd.control.health.restarts import Restarts
from tfsd.control.supervisor_client import Process


def seen(**pids: int) -> dict[str, Process]:
    return {name: Process(name, "RUNNING" if pid else "BACKOFF", pid, 0) for name, pid in pids.items()}


def test_only_a_start_after_another_is_a_restart(caplog: pytest.LogCaptureFixture) -> None:
    restarts = Restarts()
    for processes in (seen(a=1, b=2), seen(a=1, b=0), seen(a=1, b=3), seen(a=4, b=3)):
        restarts.processes_seen(processes)

    assert restarts.counts == {"a": 1, "b": 1}
    assert caplog.messages == ["b was restarted: pid 2 -> 3.", "a was restarted: pid 1 -> 4."]


def test_a_restart_during_controls_own_is_counted() -> None:
    restarts = Restarts({"a": 5}, {"a": 1})
    restarts.processes_seen(seen(a=2))

    assert restarts.counts == {"a": 6}


def test_a_program_that_comes_back_after_it_was_removed_has_not_been_restarted() -> None:
    restarts = Restarts({"a": 5}, {"a": 1})
    restarts.forget("a")
    restarts.processes_seen(seen(a=2))

    assert restarts.counts["a"] == 0


def test_a_program_that_is_no_more_is_forgotten() -> None:
    restarts = Restarts({"a": 5}, {"a": 1})
    restarts.processes_seen(seen(b=2))

    assert (dict(restarts.counts), restarts.pids) == ({}, {"b": 2})
