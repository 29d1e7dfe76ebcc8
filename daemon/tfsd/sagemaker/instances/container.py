"""A container: its directory laid as /opt/ml, its environment, its process, its log.

A container of ours is `tfsd`'s entry point as a child process and a session of its own. It gets SIGTERM when this
process is killed. Another image needs Docker: see docker.py.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gevent
from gevent import subprocess

from tfsd.local.sessions import end_session
from tfsd.sagemaker.instances.http_client import HttpClient, Response

STOP_SECONDS = 30  # SIGTERM, then SIGKILL (hosting contract section 1)
PING_SECONDS = 2
LINES_KEPT = 200
PID_FILE = "pid"
PR_SET_PDEATHSIG = 1  # of linux/prctl.h
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
KEPT_PREFIXES = ("PIP_", "SSL_", "REQUESTS_", "CUDA_", "NVIDIA_")

Lines = Callable[[str], None]

log = logging.getLogger(__name__)


class Container:
    """One container. `port` is where it listens once `start` was called."""

    def __init__(
        self, command: list[str], directory: Path, run_dir: Path, environment: Mapping[str, str], port: int
    ) -> None:
        """`command` is run in `directory`. Both directories are the container's own and go with it."""
        self.port = port
        self.directory = directory
        self.run_dir = run_dir
        self.client = HttpClient(port)
        self.last_lines: collections.deque[str] = collections.deque(maxlen=LINES_KEPT)
        self._command, self._environment = command, dict(environment)
        self._process: Any = None

    def start(self, lines: Lines) -> None:
        """Start the process; `lines` gets every line that it prints.

        Killed meanwhile, it ends when the process is there for `stop` to find.
        """
        spawning = gevent.spawn(self._spawn)
        try:
            spawning.get()
        except gevent.GreenletExit:
            spawning.join()
            raise
        gevent.spawn(self._follow, self._process.stdout, lines)

    def _spawn(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with(os.getpid()),
        )
        (self.directory / PID_FILE).write_text(f"{self._process.pid} {self.run_dir}")

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process that leads the session; 0 before the start."""
        return self._process.pid if self._process else 0

    def ping(self) -> bool:
        """Whether /ping answers 200 now."""
        try:
            response = self.client.request("GET", "/ping", PING_SECONDS)
            response.read()
        except OSError:
            return False
        return response.status == 200

    def post(self, path: str, body: Any, headers: Mapping[str, str], seconds: float) -> Response:
        return self.client.request("POST", path, seconds, headers, body)

    def path_inside(self, path: Path) -> str:
        """What a path below `directory` is called in the container."""
        return str(path)

    def stop(self) -> None:
        """SIGTERM, SIGKILL when that does not help, and nothing of its session or its directory is left."""
        if self._process is not None:
            if self.alive:
                self._ask_to_end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
            end_session(self._process.pid)
            self._process.wait()
        self.client.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def reason(self) -> str:
        """What its log says of a failure: what the entry point refused, else its last lines."""
        said = [line for line in self.last_lines if line.startswith("serve: ")]
        errors = [line for line in self.last_lines if " ERROR " in line or " CRITICAL " in line]
        return " ".join((said or errors[-3:] or list(self.last_lines)[-3:])[-3:])

    def _ask_to_end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def _follow(self, stdout: Any, lines: Lines) -> None:
        for line in stdout:
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            self.last_lines.append(text)
            try:
                lines(text)
            except Exception as error:  # of moto: were nobody to read on, the container would stand still
                log.error("A line of a container's log is lost: %s: %s", type(error).__name__, error)


def sweep(directory: Path) -> None:
    """End what a killed server has left running below `directory`, and remove it with its run directories."""
    for path in directory.glob(f"*/*/{PID_FILE}"):
        pid, _, run_dir = path.read_text().partition(" ")
        command = Path("/proc") / pid / "cmdline"
        if run_dir and command.exists() and run_dir.encode() in command.read_bytes():
            end_session(int(pid))
        shutil.rmtree(run_dir, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)


def _end_with(parent: int) -> Callable[[], None]:
    """For a new process: have SIGTERM sent to it when `parent` ends, however that ends."""
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return ask


def stack_command(run_dir: Path) -> list[str]:
    """Our stack."""
    return [sys.executable, "-m", "tfsd.start.serve", "--run-dir", str(run_dir)]


def environment_of_host() -> dict[str, str]:
    """What a container takes over from this machine: where programs and package indexes are, and nothing else."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in KEPT_VARIABLES or name.startswith(KEPT_PREFIXES)
    }
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    for name in ("SAGEMAKER_TFS_BINARY", "SAGEMAKER_TFS_MEMORY_LIMIT_MB"):  # of the machine, not of a model
        if os.environ.get(name):
            kept[name] = os.environ[name]
    return kept
