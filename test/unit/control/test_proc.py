"""What is read of processes agrees with what they do."""

from __future__ import annotations

import os
import signal
import subprocess

import psutil
import pytest

from support.control import eventually
from tfsd.control.proc import began, cpu_seconds, is_busy, state

NOBODY = 2**30


def test_who_waits_for_nothing_but_a_cpu_is_busy() -> None:
    assert is_busy(os.getpid())
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as waiting:
        eventually(lambda: not is_busy(waiting.pid))
        waiting.send_signal(signal.SIGSTOP)
        eventually(lambda: state(waiting.pid) == "T")
        waiting.send_signal(signal.SIGCONT)
    assert not is_busy(waiting.pid)


def test_cpu_time_is_read_from_the_kernel() -> None:
    before = cpu_seconds(os.getpid())
    while cpu_seconds(os.getpid()) <= before:
        pass


def test_a_process_began_when_psutil_says_so() -> None:
    now = began(os.getpid())
    assert now is not None
    assert now == pytest.approx(psutil.Process().create_time(), abs=2)  # psutil takes the second of the boot


def test_of_nobody_there_is_nothing_to_say() -> None:
    assert (state(NOBODY), cpu_seconds(NOBODY), began(NOBODY)) == ("", 0, None)
    assert not is_busy(NOBODY)
