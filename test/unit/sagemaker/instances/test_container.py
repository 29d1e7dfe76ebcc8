"""A container's process against its parent's."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import gevent
import pytest
from gevent import subprocess as gevent_subprocess

from tfsd.sagemaker.instances.container import Container

PARENT = """
import sys
from pathlib import Path
from tfsd.sagemaker.instances.container import Container
container = Container(["sleep", "1000"], Path(sys.argv[1]), Path(sys.argv[1]), {"PATH": "/bin:/usr/bin"}, 1)
container.start(print)
print(container.pid, flush=True)
input()
"""


def test_it_ends_when_the_emulator_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    pid = int(parent.stdout.readline())
    process = Path(f"/proc/{pid}")
    assert process.exists()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + 60
    while process.exists() and "\nState:\tZ" not in (process / "status").read_text():
        assert time.monotonic() < end, "it lives on"
        time.sleep(0.02)


def test_a_start_that_is_killed_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = gevent_subprocess.Popen
    spawned = []

    def slow(*words: object, **options: object) -> object:
        gevent.sleep(0)  # as on a busy machine: others go on while the process is made
        spawned.append(real(*words, **options))
        gevent.sleep(0)
        return spawned[-1]

    monkeypatch.setattr("tfsd.sagemaker.instances.container.subprocess.Popen", slow)
    directory = tmp_path / "container"
    directory.mkdir()
    container = Container(["sleep", "1000"], directory, tmp_path / "run", {"PATH": "/bin:/usr/bin"}, 1)
    starting = gevent.spawn(container.start, print)
    gevent.sleep(0)
    starting.kill()

    container.stop()

    assert [process.poll() is not None for process in spawned] == [True]


def test_its_log_is_read_on_when_nobody_takes_a_line(tmp_path: Path) -> None:
    """It would stand still once the pipe is full."""

    def refuse(line: str) -> None:
        raise KeyError(line)

    directory = tmp_path / "container"
    directory.mkdir()
    command = ["sh", "-c", "yes line | head -n 20000; echo last"]
    container = Container(command, directory, tmp_path / "run", {"PATH": "/bin:/usr/bin"}, 1)
    container.start(refuse)
    try:
        with gevent.Timeout(60):
            while "last" not in container.last_lines:
                gevent.sleep(0.01)
    finally:
        container.stop()
