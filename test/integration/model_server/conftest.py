"""Models and running model servers for the tests of the embedded model server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RESOURCES = ROOT / "test" / "resources" / "model_server"
START_SECONDS = 90


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}"
        time.sleep(0.05)


class Forks:
    """Runs model servers as forks of one process that has TensorFlow loaded (see fork_server.py)."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("fork_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT / "daemon")},
            text=True,
        )
        self._codes: dict[int, int | None] = {}

    def start(self, flags: Sequence[str], output: Path) -> int:
        """Start a server; its stdout and stderr go to a file. Returns the process id."""
        output.touch()
        pid = self._ask({"flags": list(flags), "output": str(output)})
        assert pid is not None
        self._codes[pid] = None
        return pid

    def exit_code(self, pid: int) -> int | None:
        """The exit code (negative: a signal), or None while the server lives."""
        if self._codes[pid] is None:
            self._codes[pid] = self._ask({"wait": pid})
        return self._codes[pid]

    def kill(self, pid: int) -> None:
        """Make sure that a server is gone."""
        if self.exit_code(pid) is None:
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: self.exit_code(pid) is not None, "a killed server to end")

    def stop(self) -> None:
        for pid in self._codes:
            self.kill(pid)
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)

    def _ask(self, command: object) -> int | None:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(command), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Where model servers come from."""
    forks = Forks()
    yield forks
    forks.stop()


@dataclass
class RunningServer:
    """A model server that `start_server` started.

    Attributes:
        port, rest_port: of gRPC and of REST (0: none).
        output: the file with its stdout and stderr.
    """

    port: int
    rest_port: int
    output: Path
    pid: int
    forks: Forks = field(repr=False)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def log(self) -> str:
        return self.output.read_text(errors="replace")

    def is_ready(self) -> bool:
        """Whether it listens on its ports. Fails when it has ended."""
        code = self.exit_code()
        assert code is None, f"exit code {code}:\n{self.log()}"
        needed = ["Running gRPC ModelServer"] + (["Exporting HTTP/REST API"] if self.rest_port else [])
        text = self.log()
        return all(line in text for line in needed)

    def exit_code(self) -> int | None:
        return self.forks.exit_code(self.pid)

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something is true. Fails when the server has ended."""

        def is_true() -> bool:
            assert self.exit_code() is None, self.log()
            return condition()

        wait_for(is_true, what)

    def wait_for_log(self, text: str) -> None:
        """Wait until the log has a text."""
        wait_for(lambda: text in self.log(), f"{text!r} in the log")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it and return its exit code."""
        if self.exit_code() is None:
            os.kill(self.pid, number)
            wait_for(lambda: self.exit_code() is not None, "the server to end")
        code = self.exit_code()
        assert code is not None
        return code


#: Called with flags (and `rest=True` for a REST port, `wait=False` not to wait until it serves).
StartServer = Callable[..., RunningServer]


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Iterator[StartServer]:
    """Starts model servers on free ports; all are killed at the module's end."""
    started: list[RunningServer] = []

    def start(*flags: str, rest: bool = False, wait: bool = True) -> RunningServer:
        port, rest_port = free_port(), free_port() if rest else 0
        output = tmp_path_factory.mktemp("server") / "log"
        pid = forks.start([f"--port={port}", f"--rest_api_port={rest_port}", *flags], output)
        server = RunningServer(port, rest_port, output, pid, forks)
        started.append(server)
        if wait:
            wait_for(server.is_ready, "the server to listen")
        return server

    yield start
    for server in started:
        forks.kill(server.pid)
