"""Models and running model servers for the tests of the embedded model server."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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


@pytest.fixture(scope="session")
def models() -> Path:
    """The directory of the models of make_models.py; built once per machine and version of the script."""
    script = RESOURCES / "make_models.py"
    digest = hashlib.sha256(script.read_bytes() + sys.version.encode()).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"tfsd-test-models-{os.getuid()}-{digest}"
    if not directory.exists():
        # built under its final name, because models.config names it, then published by a marker's rename
        lock = directory.with_suffix(".building")
        try:
            lock.mkdir()
        except FileExistsError:
            _wait(directory.exists, "another test run to build the models")
            return directory
        try:
            _build(script, directory)
        finally:
            lock.rmdir()
    return directory


def _build(script: Path, directory: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        built = Path(temporary) / "models"
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run([sys.executable, script, built], check=True, env=environment, capture_output=True)
        config = built / "models.config"
        config.write_text(config.read_text().replace(str(built), str(directory)))
        partial = directory.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.move(built, partial)
        partial.rename(directory)


def _wait(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}"
        time.sleep(0.05)


@dataclass
class ServerProcess:
    """A running `python -m tfsd.model_server`.

    Attributes:
        port, rest_port: of gRPC and of REST (0: none).
        output: the file with its stdout and stderr.
    """

    port: int
    rest_port: int
    output: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def log(self) -> str:
        return self.output.read_text(errors="replace")

    def is_ready(self) -> bool:
        """Whether it listens on its ports. Fails when it has ended."""
        assert self.process.poll() is None, f"exit code {self.process.returncode}:\n{self.log()}"
        needed = ["Running gRPC ModelServer"] + (["Exporting HTTP/REST API"] if self.rest_port else [])
        text = self.log()
        return all(line in text for line in needed)

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
        _wait(condition, what, seconds)

    def wait_for_log(self, text: str, seconds: float = START_SECONDS) -> None:
        """Wait until the log has a text."""
        _wait(lambda: text in self.log(), f"{text!r} in the log", seconds)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


#: Called with flags (and `rest=True` for a REST port, `wait=False` not to wait until it serves).
StartServer = Callable[..., ServerProcess]


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Starts model servers on free ports; all are killed at the end."""
    started: list[ServerProcess] = []

    def start(*flags: str, rest: bool = False, wait: bool = True) -> ServerProcess:
        port, rest_port = free_port(), free_port() if rest else 0
        output = tmp_path_factory.mktemp("server") / "log"
        command = [
            sys.executable,
            "-m",
            "tfsd.model_server",
            f"--port={port}",
            f"--rest_api_port={rest_port}",
        ]
        with output.open("wb") as file:
            process = subprocess.Popen(
                [*command, *flags],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": str(ROOT / "daemon")},
            )
        server = ServerProcess(port, rest_port, output, process)
        started.append(server)
        if wait:
            server.wait_for(server.is_ready, "the server to listen")
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
