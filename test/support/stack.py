"""A real stack in a directory of its own, on a free port: started as in a container, spoken to over HTTP."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import psutil
import requests
from supervisor.xmlrpc import SupervisorTransport

from tfsd.plan import ModelServer, Plan
from tfsd.run_dir import RunDir
from tfsd.stack.ports import allocate

PRCTL = ctypes.CDLL(None).prctl  # loaded here: nothing may be between fork and exec
PR_SET_PDEATHSIG = 1  # of linux/prctl.h
START_SECONDS = 90  # TensorFlow loads in a few seconds on an idle machine
STOP_SECONDS = 30
OUR_OWN = (
    "SAGEMAKER_",
    "PYTHONUNBUFFERED",
)  # a variable of this process's that would change what a stack does


def end_with_parent() -> None:
    """In a child, before it executes: it has SIGTERM when the test's process ends, however that one does."""
    PRCTL(PR_SET_PDEATHSIG, signal.SIGTERM)


class RunningStack:
    """`tfsd.start.serve` for a model directory. A context manager: healthy inside, gone without a trace after.

    Args:
        directory: an empty directory of the stack's own, for its log and its base directory.
        model_dir: laid as /opt/ml/model.
        environ: SAGEMAKER_* variables on top of the defaults.

    With `one_worker` stacks have one worker of each pool unless their environment says otherwise: it takes half a
    second of CPU to start, and few tests need another one.
    """

    one_worker = False

    def __init__(self, directory: Path, model_dir: Path, environ: Mapping[str, str] | None = None):
        self.directory = directory
        self._short = tempfile.TemporaryDirectory(prefix="tfsd-", ignore_cleanup_errors=True)
        self.run_dir = Path(self._short.name) / "run"  # pytest's own directories are too long for sockets
        self.log = directory / "log"
        self.port = allocate(1)[0]
        base = directory / "base"
        base.mkdir(parents=True)
        (base / "model").symlink_to(model_dir)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OUR_OWN)}
        self.environ = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
            "SAGEMAKER_BASE_DIR": str(base),
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
            **(environ or {}),
        }
        if self.one_worker and "SAGEMAKER_GUNICORN_WORKERS" not in self.environ:
            self.environ.setdefault("SAGEMAKER_MODEL_SERVER_WORKERS", "1")
        self.process: subprocess.Popen[bytes] | None = None
        self.session = requests.Session()

    def start(self) -> RunningStack:
        """Start without waiting for anything."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tfsd.start.serve", "--run-dir", str(self.run_dir)],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        return self

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_until_healthy()
        except BaseException:
            self.kill_all()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        try:
            self.stop()
        except BaseException:
            self.kill_all()
            raise

    def wait_until_healthy(self, seconds: float = START_SECONDS) -> None:
        self.wait_for(self._is_healthy, seconds, "healthy")

    def _is_healthy(self) -> bool:
        """As `ping`, for a quarter of its CPU; and it is not asked before control has noted that it would say yes."""
        if not RunDir(self.run_dir).started.exists():
            return False
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def wait_for(self, condition, seconds: float, what: str) -> None:  # type: ignore[no-untyped-def]
        """Wait until `condition()` is true; network errors count as false. Fails with the end of the log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process is None or self.process.poll() is None, f"the stack ended:\n{self.log_tail()}"
            with contextlib.suppress(requests.RequestException):
                if condition():
                    return
            time.sleep(0.1)
        raise AssertionError(f"not {what} within {seconds} s:\n{self.log_tail()}")

    def refusal(self, seconds: float = START_SECONDS) -> tuple[int, list[str]]:
        """Start a stack that must not come up: its exit status, and the lines that it printed."""
        self.start()
        assert self.process is not None
        try:
            status = self.process.wait(seconds)
        finally:
            self.kill_all()
        return status, self.log_text().splitlines()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def ping(self) -> requests.Response:
        return requests.get(self.url("/ping"), timeout=5)

    def invoke(
        self, body: bytes | str, content_type: str = "application/json", **more: str
    ) -> requests.Response:
        """POST /invocations; `more` are headers, with `_` for `-`, and `attributes` for the custom ones."""
        headers = {"Content-Type": content_type}
        for name, value in more.items():
            full = "X-Amzn-SageMaker-Custom-Attributes" if name == "attributes" else name.replace("_", "-")
            headers[full] = value
        data = body.encode() if isinstance(body, str) else body
        return self.session.post(self.url("/invocations"), data=data, headers=headers, timeout=120)

    def plan(self) -> Plan:
        return Plan.load(RunDir(self.run_dir))

    def ctl(self, *words: str) -> str:
        """What supervisorctl prints."""
        command = [
            sys.executable,
            "-m",
            "supervisor.supervisorctl",
            "-c",
            str(self.run_dir / "supervisord.conf"),
        ]
        return subprocess.run([*command, *words], capture_output=True, text=True, timeout=60).stdout

    def stop_program(self, program: str) -> None:
        """As `supervisorctl stop`, which is a fifth of a second of Python."""
        with self._supervisor() as supervisor:
            supervisor.stopProcess(program)

    def start_program(self, program: str) -> None:
        """As `supervisorctl start`; whether it runs is to be seen by its state."""
        with self._supervisor() as supervisor, contextlib.suppress(xmlrpc.client.Fault):
            supervisor.startProcess(program)

    @contextlib.contextmanager
    def _supervisor(self) -> Iterator[Any]:
        socket = f"unix://{RunDir(self.run_dir).supervisor_socket}"
        with xmlrpc.client.ServerProxy("http://localhost", SupervisorTransport(serverurl=socket)) as proxy:
            yield proxy.supervisor

    def programs(self) -> dict[str, dict[str, Any]]:
        """What supervisord says of each program, by name; nothing while it does not answer."""
        try:
            with self._supervisor() as supervisor:
                return {program["name"]: program for program in supervisor.getAllProcessInfo()}
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return {}

    def state(self, program: str) -> str:
        """supervisord's word for it, such as RUNNING; empty when there is none."""
        return str(self.programs().get(program, {}).get("statename", ""))

    def pid(self, program: str) -> int:
        """The process id of a supervisord program, 0 while it has none."""
        return int(self.programs().get(program, {}).get("pid", 0))

    def serving_pid(self, server: ModelServer) -> int:
        """The process that does a model server's work, which may be a fork that supervisord does not know: who listens
        on its port."""
        connections = psutil.net_connections("tcp")
        [found] = {
            one.pid
            for one in connections
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == server.rest_port
        }
        assert found
        return int(found)

    def kill(self, program: str) -> int:
        """kill -9 a program's process; returns the process id that it had."""
        pid = self.pid(program)
        assert pid, f"{program} has no process:\n{self.ctl('status')}"
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self) -> int:
        """SIGTERM, as the platform stops a container; returns the exit status."""
        assert self.process is not None
        self.session.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(STOP_SECONDS)
        left = self.processes()
        assert not left, f"left behind: {left}\n{self.log_tail()}"
        return status

    def processes(self) -> dict[int, str]:
        """Command lines of all processes of the stack's session, by process id, but for those that have ended and whose
        parent has, too: they are for init to reap."""
        assert self.process is not None
        found = {}
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            with contextlib.suppress(OSError, ValueError):
                if os.getsid(pid) == self.process.pid:
                    state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[:2]
                    if (state, parent) == ("Z", "1"):
                        continue
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
                    found[pid] = " ".join(words)
        return found

    def kill_all(self) -> None:
        if self.process is None:
            return
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log_text().splitlines()[-lines:])
