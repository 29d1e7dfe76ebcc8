"""Calls to a real supervisord."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from support.control import Supervisord, eventually
from tfsd.control.supervisor_client import SupervisorClient, SupervisorError
from tfsd.run_dir import RunDir

PROGRAMS = """
[program:sleeper]
command = sleep 1000
startsecs = 0
[program:absent]
command = /does/not/exist
startsecs = 0
startretries = 0
"""


def test_processes_are_seen_signalled_and_seen_restarted(
    tmp_path: Path, start_supervisord: Callable[[str], Supervisord]
) -> None:
    start_supervisord(PROGRAMS)
    client = SupervisorClient(RunDir(tmp_path))
    eventually(lambda: client.processes()["absent"].state == "FATAL")
    before = client.processes()
    sleeper = before["sleeper"]
    assert sleeper.running
    assert sleeper.pid > 0
    assert (before["absent"].running, before["absent"].pid) == (False, 0)

    client.signal(sleeper, "KILL")
    eventually(lambda: client.processes()["sleeper"].pid not in (0, sleeper.pid))

    with pytest.raises(SupervisorError, match="NOT_RUNNING"):
        client.signal(before["absent"], "KILL")


def test_no_supervisord_is_an_error_that_names_the_socket(tmp_path: Path) -> None:
    with pytest.raises(SupervisorError, match=r"does not answer on .*/supervisor\.sock"):
        SupervisorClient(RunDir(tmp_path)).processes()


def test_a_supervisord_that_hangs_is_given_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "supervisor.sock"))
        silent.listen()
        with pytest.raises(SupervisorError, match="timed out"):
            SupervisorClient(RunDir(tmp_path), timeout=0.05).processes()
