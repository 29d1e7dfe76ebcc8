"""A stopped process is told to go on, and only that one."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from support.control import eventually
from tfsd.control.health.stopped_supervisord import go_on
from tfsd.control.proc import state


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        yield sleeper
        sleeper.kill()


def test_one_that_is_stopped_goes_on(
    process: subprocess.Popen[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    os.kill(process.pid, signal.SIGSTOP)
    eventually(lambda: state(process.pid) == "T")
    go_on(process.pid)
    eventually(lambda: state(process.pid) == "S")
    assert f"stopped supervisord (pid {process.pid})" in caplog.text


def test_one_that_was_told_to_end_meanwhile_ends(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGSTOP)
    eventually(lambda: state(process.pid) == "T")
    process.terminate()
    go_on(process.pid)
    assert process.wait(10) == -signal.SIGTERM


def test_others_are_left_alone(process: subprocess.Popen[bytes], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    go_on(process.pid)
    process.kill()
    process.wait()
    go_on(process.pid)
    assert not caplog.text
