"""A stack on one's own machine: started as a child, shown to work with a real request, stopped without a trace.

Owns the laptop's side of `serve` only; what is started is the container's own entry point.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from urllib.parse import quote

import requests
from backports import tarfile  # Debian 12's Python has no extraction filters

from tfsd.errors import StartError
from tfsd.local.sample_request import sample_request
from tfsd.local.sessions import end_session
from tfsd.plan import Plan
from tfsd.run_dir import RunDir, remove
from tfsd.settings import Settings, SettingsError

STOP_SECONDS = 30  # as the platform: SIGTERM, then SIGKILL (contract section 1)
LONGEST_ANSWER_SHOWN = 600


class LocalError(StartError):
    """What was asked for cannot be done here; the text says why."""


@dataclasses.dataclass(frozen=True)
class Request:
    """A request that shows an endpoint at work: a file and its content type."""

    content_type: str
    body: Path


def serve(
    model: Path | None, run_dir: RunDir, environ: Mapping[str, str], request: Request | None = None
) -> int:
    """Serve `model` (a directory or tar archive; None: what SAGEMAKER_BASE_DIR holds) until a signal comes.

    Once the endpoint is healthy, prints a curl line for `request`, or for one made from the model's signature,
    and the answer to it; in multi-model mode, where SAGEMAKER_BASE_DIR has `models/`, curl lines that load and
    invoke a model. Returns the exit status. Raises LocalError.
    """
    environ = dict(environ)
    if model is not None:
        environ["SAGEMAKER_BASE_DIR"] = str(_base_dir(model, run_dir))
    try:
        settings = Settings.from_environ(environ)
    except SettingsError as error:
        raise LocalError("; ".join(error.problems)) from error
    if settings.multi_model and model is not None:
        raise LocalError(
            "SAGEMAKER_MULTI_MODEL=true needs SAGEMAKER_BASE_DIR, whose models/ holds the models"
        )
    stack = _Child([sys.executable, "-m", "tfsd.start.serve", "--run-dir", str(run_dir)], environ)
    try:
        if stack.wait_for(f"http://localhost:{settings.port}/ping", settings.load_timeout):
            if settings.multi_model:
                _show_loading(settings)
            else:
                _show(settings.port, run_dir, request)
        status = stack.wait()
    finally:
        stack.sweep()
        if stack.owned_run_dir(run_dir):
            run_dir.remove_sockets()
    return status


def _base_dir(model: Path, run_dir: RunDir) -> Path:
    """A directory whose `model/` is the model, as the platform would lay it."""
    base = run_dir.base
    target = base / "model"
    if not model.exists():
        raise LocalError(f"{model} does not exist")
    base.mkdir(parents=True, exist_ok=True)
    remove(target)
    if model.is_dir():
        target.symlink_to(model.resolve())
        return base
    if not tarfile.is_tarfile(model):
        raise LocalError(f"{model} is neither a directory nor a tar archive")
    try:
        with tarfile.open(model) as archive:
            archive.extractall(target, filter="data")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise LocalError(f"{model} cannot be unpacked: {error}") from error
    return base


class _Child:
    """The stack's process and, as its session, everything that it starts."""

    def __init__(self, command: list[str], environ: Mapping[str, str]):
        self.stopping = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)
        self.process = subprocess.Popen(command, env=environ, start_new_session=True)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """The first signal stops the stack, which drains; the second kills it."""
        self.stopping += 1
        if self.stopping == 1:
            print("bin/local: stopping; once more to kill", file=sys.stderr, flush=True)
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM if self.stopping == 1 else signal.SIGKILL)

    def wait_for(self, url: str, seconds: float) -> bool:
        """Whether `url` answered 200 within `seconds` while the process lived and nobody wanted to stop."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None and not self.stopping:
            with contextlib.suppress(requests.RequestException):
                if requests.get(url, timeout=2).status_code == 200:
                    return True
            time.sleep(0.2)
        return False

    def wait(self) -> int:
        """Wait for the end; after a signal not longer than STOP_SECONDS. 0 when we were told to stop."""
        while not self.stopping:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(0.5)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        return 0

    def sweep(self) -> None:
        """Kill what a killed supervisord has left behind: every process of its session."""
        end_session(self.process.pid)

    def owned_run_dir(self, run_dir: RunDir) -> bool:
        """Whether the stack in the run directory was this one, rather than one that was there before."""
        with contextlib.suppress(OSError, ValueError):
            return int(run_dir.supervisord_pid.read_text()) == self.process.pid
        return not run_dir.supervisor_socket.exists()


def _show_loading(settings: Settings) -> None:
    """Print curl lines that load a model and invoke it, for what lies in the models directory."""
    directories = sorted(
        path for path in settings.models_dir.glob("*") if path.is_dir() and path.name != "code"
    )
    if not directories:
        print(
            f"\nbin/local: lay models below {settings.models_dir}; each is loaded by its directory",
            flush=True,
        )
    name = directories[0].name if directories else "NAME"
    document = json.dumps({"model_name": name, "url": str(settings.models_dir.absolute() / name)})
    url = f"http://localhost:{settings.port}/models"
    body = '{"instances": […]}'
    lines = [
        f"curl -s {url} -d {shlex.quote(document)}",
        f"curl -s {url}/{quote(name, safe='')}/invoke -H 'Content-Type: application/json' -d '{body}'",
        f"curl -s {url}",
        f"curl -s -X DELETE {url}/{quote(name, safe='')}",
    ]
    print(
        "\nbin/local: load, invoke, list and unload models with\n\n  " + "\n  ".join(lines) + "\n", flush=True
    )


def _show(port: int, run_dir: RunDir, request: Request | None) -> None:
    """Print a curl line that works when pasted, and its answer."""
    url = f"http://localhost:{port}/invocations"
    if request is None:
        request = _request_for_default_model(run_dir)
    if request is None:
        print(f"\nbin/local: serving at {url}", flush=True)
        return
    line = f"curl -s --data-binary @{shlex.quote(str(request.body))} -H 'Content-Type: {request.content_type}' {url}"
    headers = {"Content-Type": request.content_type}
    answer = requests.post(url, data=request.body.read_bytes(), headers=headers, timeout=120)
    shown = (
        answer.text if len(answer.text) <= LONGEST_ANSWER_SHOWN else answer.text[:LONGEST_ANSWER_SHOWN] + " …"
    )
    print(f"\nbin/local: serving at {url}; try\n\n  {line}\n\n{shown}\n", flush=True)
    if answer.status_code != 200:
        print(
            "bin/local: this request was made from the model's signature; send what your code expects",
            flush=True,
        )


def _request_for_default_model(run_dir: RunDir) -> Request | None:
    """A request made from the signature of the default model, written into the run directory."""
    plan = Plan.load(run_dir)
    if plan.default_model is None:
        return None
    model = plan.models[plan.default_model]
    document = sample_request(model.name, model.servers[0].rest_port)
    if document is None:
        return None
    run_dir.sample_request.write_text(json.dumps(document))
    return Request("application/json", run_dir.sample_request)
