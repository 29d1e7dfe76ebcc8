"""Models and running model servers for the tests of the embedded model server."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.preloaded_model_server import Fork
from tfsd.stack.ports import allocate

ROOT = Path(__file__).parents[3]
RESOURCES = ROOT / "test" / "resources" / "model_server"
START_SECONDS = 90
BUSY_TICKS = 15  # CPU time, in hundredths of a second: more than a small request takes


def free_port() -> int:
    """A port that no outgoing connection takes meanwhile."""
    return allocate(1)[0]


def wait_for(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}"
        time.sleep(0.05)


StartFork = Callable[[Sequence[str], Path], Fork]


@pytest.fixture
def start_fork(preloaded: Path) -> Iterator[StartFork]:
    """Start a model server with flags and a file for its output; it is gone at the test's end."""
    started: list[Fork] = []

    def start(flags: Sequence[str], output: Path) -> Fork:
        started.append(Fork(preloaded, flags, output))
        return started[-1]

    yield start
    for fork in started:
        fork.kill()


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
    fork: Fork = field(repr=False)

    @property
    def pid(self) -> int:
        return self.fork.pid

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
        return self.fork.exit_code()

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something is true. Fails when the server has ended."""

        def is_true() -> bool:
            assert self.exit_code() is None, self.log()
            return condition()

        wait_for(is_true, what)

    def wait_until_busy(self, begin: Callable[[], Any]) -> Any:
        """Begin a request that takes long and wait until it is being computed; returns what `begin` returned."""
        before = self._cpu_ticks()
        begun = begin()
        self.wait_for(lambda: self._cpu_ticks() - before > BUSY_TICKS, "the request to be computed")
        return begun

    def _cpu_ticks(self) -> int:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def wait_for_log(self, text: str) -> None:
        """Wait until the log has a text."""
        wait_for(lambda: text in self.log(), f"{text!r} in the log")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it and return its exit code."""
        if self.exit_code() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself just now
                os.kill(self.pid, number)
            wait_for(lambda: self.exit_code() is not None, "the server to end")
        code = self.exit_code()
        assert code is not None
        return code


#: Called with flags (and `rest=True` for a REST port, `wait=False` not to wait until it serves).
StartServer = Callable[..., RunningServer]


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory, preloaded: Path) -> Iterator[StartServer]:
    """Starts model servers on free ports; all are killed at the module's end."""
    started: list[RunningServer] = []

    def start(*flags: str, rest: bool = False, wait: bool = True) -> RunningServer:
        port, rest_port = free_port(), free_port() if rest else 0
        output = tmp_path_factory.mktemp("server") / "log"
        fork = Fork(preloaded, [f"--port={port}", f"--rest_api_port={rest_port}", *flags], output)
        server = RunningServer(port, rest_port, output, fork)
        started.append(server)
        if wait:
            wait_for(server.is_ready, "the server to listen")
        return server

    yield start
    for server in started:
        server.fork.kill()
