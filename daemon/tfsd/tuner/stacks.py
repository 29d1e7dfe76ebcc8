"""Stacks that are tried: started as `serve` starts them, each with the settings of a candidate, and ended again."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psutil
import requests

from tfsd.errors import StartError
from tfsd.local.sessions import end_session
from tfsd.plan import Plan
from tfsd.run_dir import RunDir
from tfsd.stack.ports import allocate
from tfsd.tuner.curve import Curve
from tfsd.tuner.load import Request

STOP_SECONDS = 20.0
CALL_SECONDS = 60.0
POLL_SECONDS = 0.1
PARALLEL_CLIENTS = 4
PARALLEL_SECONDS = 2.0


class StackError(StartError):
    """A stack does not start or does not answer; the text says what it printed last."""


class Stack:
    """A stack, healthy inside of `with`: on a free port, with `environ` and a run directory of its own."""

    def __init__(self, base_dir: Path, run_dir: RunDir, environ: Mapping[str, str], patience: float) -> None:
        self._run_dir = run_dir
        self._patience = patience
        self._environ = {**environ, "SAGEMAKER_BASE_DIR": str(base_dir)}
        self._process: subprocess.Popen[bytes] | None = None
        self._log = run_dir.path.with_suffix(".log")
        self.port = 0
        self.session = requests.Session()

    def __enter__(self) -> Self:
        self._run_dir.claim()
        self.port = allocate(1)[0]
        environ = {
            **self._environ,
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
            "SAGEMAKER_TFS_BIND_ADDRESS": "127.0.0.1",
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tfsd.start.serve", "--run-dir", str(self._run_dir)],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _wait(self) -> None:
        assert self._process is not None
        end = time.monotonic() + self._patience
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise StackError(f"the stack does not start: {self._last_line()}")
            with contextlib.suppress(requests.RequestException):
                if self.session.get(self.url("/ping"), timeout=2).status_code == 200:
                    return
            time.sleep(POLL_SECONDS)
        raise StackError(f"the stack is not healthy after {self._patience:g} s: {self._last_line()}")

    def _last_line(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it has printed nothing"

    def _end(self) -> None:
        process, self._process = self._process, None
        self.session.close()
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        end_session(process.pid)
        process.wait()
        self._run_dir.remove_sockets()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def plan(self) -> Plan:
        return Plan.load(self._run_dir)

    def invoke(self, request: Request) -> requests.Response:
        """One request, as a client sends it. Raises StackError when no response comes."""
        headers = {"Content-Type": request.content_type, **request.headers}
        try:
            return self.session.post(
                self.url("/invocations"), data=request.body, headers=headers, timeout=CALL_SECONDS
            )
        except requests.RequestException as error:
            raise StackError(f"the stack does not answer: {error}") from None

    def settle(self, request: Request, seconds: float) -> None:
        """Wait until a single request takes no longer than `seconds`, or for ten seconds: what a run that was
        stopped has left in the queues is worked off by then."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            began = time.monotonic()
            self.invoke(request)
            if time.monotonic() - began <= seconds:
                return


class ModelServerClient:
    """Calls to a stack's model server without anything between: what the cost curve is made of."""

    def __init__(self, stack: Stack, body: Callable[[int], bytes]) -> None:
        plan = stack.plan()
        if plan.default_model is None:
            raise StackError("the model directory has several models; set SAGEMAKER_TFS_DEFAULT_MODEL_NAME")
        model = plan.models[plan.default_model]
        self._session = stack.session
        self._body = body
        self._url = f"http://127.0.0.1:{model.servers[0].rest_port}/v1/models/{quote(model.name, safe='')}"
        self._pid = _listener(model.servers[0].rest_port)

    def call(self, size: int) -> None:
        """One call with `size` requests in it. Raises ValueError: the model refuses it."""
        response = self._session.post(f"{self._url}:predict", data=self._body(size), timeout=CALL_SECONDS)
        if response.status_code != 200:
            raise ValueError(f"status {response.status_code}: {response.text[:300]}")

    def empty_call(self) -> None:
        self._session.get(self._url, timeout=CALL_SECONDS)

    def cpu_seconds(self) -> float:
        """CPU time of the model server's threads, to the nanosecond; 0 where it cannot be seen."""
        total = 0
        for file in Path(f"/proc/{self._pid}/task").glob("*/schedstat") if self._pid else ():
            with contextlib.suppress(OSError, ValueError, IndexError):
                total += int(file.read_text().split()[0])
        return total / 1e9

    def parallelism(self, curve: Curve, clients: int = PARALLEL_CLIENTS) -> float:
        """How many single calls proceed side by side: what so many clients get answered in a second or more, over
        what one gets; 1.0 at least."""
        alone = curve.points[0].seconds.value + curve.overhead
        each = max(3, math.ceil(PARALLEL_SECONDS / (alone * clients)))

        def client(number: int) -> None:
            with requests.Session() as session:
                for _ in range(each):
                    session.post(f"{self._url}:predict", data=self._body(1), timeout=CALL_SECONDS)

        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(clients) as threads:
            for done in threads.map(client, range(clients)):
                assert done is None
        return max(1.0, clients * each * alone / (time.monotonic() - began))

    def metadata(self) -> dict[str, object]:
        """The model's signatures, as TensorFlow Serving tells them in JSON."""
        response = self._session.get(f"{self._url}/metadata", timeout=CALL_SECONDS)
        document: dict[str, object] = json.loads(response.text)
        return document


def _listener(port: int) -> int | None:
    """The process that listens on `port`, if it can be seen."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and getattr(connection.laddr, "port", None) == port and connection.pid:
                return int(connection.pid)
    return None


def environment(environ: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """What a stack with these settings is started with."""
    kept = {name: value for name, value in environ.items() if name != "SAGEMAKER_GUNICORN_WORKERS"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return {**kept, "PATH": path, "SAGEMAKER_TFS_STATUS_PAGE": "false", **variables}
