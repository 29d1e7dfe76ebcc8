"""Calls to a real supervisord."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.control import Supervisord, eventually
from tfsd.control.supervisor_client import FRESH_SECONDS, Process, SupervisorClient, SupervisorError
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


def test_what_supervisord_has_written_down_is_read_as_long_as_it_is_fresh(tmp_path: Path) -> None:
    client, table = SupervisorClient(RunDir(tmp_path)), RunDir(tmp_path).processes
    info = {"name": "m-0", "group": "m", "statename": "RUNNING", "pid": 7, "start": 1, "spawnerr": ""}
    table.write_text(json.dumps([info]))
    assert client.processes() == {"m-0": Process("m-0", "RUNNING", 7, 1, "m")}
    with pytest.raises(SupervisorError, match="does not answer"):
        client.add_group("n")
    with pytest.raises(
        SupervisorError, match="does not answer"
    ):  # what was written before says nothing of the group
        client.processes()
    for when in (time.time() - FRESH_SECONDS, time.time() + 60):  # its loop stands still; the clock was set
        os.utime(table, (when, when))
        with pytest.raises(SupervisorError, match="does not answer"):
            client.processes()


def test_a_stack_that_stops_is_not_asked(tmp_path: Path) -> None:
    RunDir(tmp_path).processes.write_text("null")
    with pytest.raises(SupervisorError, match="stopping"):
        SupervisorClient(RunDir(tmp_path)).processes()
