"""Everything that is measured, started: our stacks over a stub of a model server, plain proxying, model servers by
themselves, and other projects' servers. Each is a context manager."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import requests

from support.models import built_models
from support.multi_model import MultiModelStack
from support.stack import RunningStack, end_with_parent
from tfsd.stack import nginx
from tfsd.stack.ports import allocate

ROOT = Path(__file__).resolve().parents[3]
STUB = ROOT / "test" / "support" / "stub_model_server.py"
BENCH = ROOT / "test" / "resources" / "bench"
SINGLE = ROOT / "test" / "resources" / "handlers" / "single.py"
OTHERS = ROOT / ".bench-venv"
MODEL = "rows"
START_SECONDS = 120
SMALL = b'{"instances": [1.0, 2.0, 5.0]}'
PLAIN_PROXY = """
daemon off; pid {directory}/nginx.pid; error_log stderr error; worker_processes {cpus};
events {{ worker_connections 1024; }}
http {{
    access_log {directory}/access.log combined buffer=32k flush=1s;
    client_max_body_size 0; client_body_buffer_size 26m;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
    proxy_http_version 1.1; proxy_set_header Connection ""; keepalive_requests 1000000000;
    upstream stub {{ server 127.0.0.1:{stub}; keepalive 128; }}
    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://stub/v1/models/rows:predict; }} }}
}}
"""


def model_dir(directory: Path, script: Path | None) -> Path:
    """A directory that looks like a model to the stack; the stub needs no more."""
    version = directory / MODEL / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").touch()
    if script:
        (directory / "code").mkdir()
        shutil.copy(script, directory / "code" / "inference.py")
    return directory


def stack(directory: Path, script: Path | None) -> RunningStack:
    """Ours, for one model."""
    environ = {"SAGEMAKER_TFS_BINARY": str(STUB), "SAGEMAKER_TFS_MAX_BODY_MB": "100"}  # 64 of 10 MB at a time
    return RunningStack(directory / "stack", model_dir(directory / "model", script), environ)


@contextlib.contextmanager
def multi_model_stack(directory: Path, scripts: Mapping[str, Path | None]) -> Iterator[MultiModelStack]:
    """Ours in multi-model mode, with a model for each of the scripts."""
    with MultiModelStack(directory / "multi", {"SAGEMAKER_TFS_BINARY": str(STUB)}) as running:
        for name, script in scripts.items():
            laid = model_dir(running.models_dir / name, script)
            running.loaded(name, str(laid))
        yield running


def pids(running: RunningStack) -> list[int]:
    """nginx and the workers, whose CPU time a request takes in front of the model server."""
    return [
        program["pid"]
        for name, program in running.programs().items()
        if name == "nginx" or name.startswith("worker-")
    ]


@contextlib.contextmanager
def plain_proxy(directory: Path, stub: int) -> Iterator[tuple[int, int]]:
    """An nginx that reads a request and proxies it to the stub's port, no more: its port and its process id."""
    directory.mkdir()
    port = allocate(1)[0]
    file = directory / "nginx.conf"
    file.write_text(PLAIN_PROXY.format(directory=directory, port=port, stub=stub, cpus=os.cpu_count()))
    command = [nginx.find().binary, "-p", str(directory), "-e", "stderr", "-c", str(file)]
    with _process(command, {}, f"http://127.0.0.1:{port}/") as pid:
        yield port, pid


@contextlib.contextmanager
def model_server(command: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """A model server with half_plus_two: its REST port, its gRPC port, its process id."""
    rest, port = allocate(2)
    flags = [f"--rest_api_port={rest}", f"--port={port}", f"--model_name={MODEL}"]
    flags.append(f"--model_base_path={built_models() / 'half_plus_two'}")
    environ = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT / "daemon")}
    url = f"http://127.0.0.1:{rest}/v1/models/{MODEL}:predict"
    with _process([*command, *flags], environ, url) as pid:
        yield rest, port, pid


def embedded() -> list[str]:
    """The command of the embedded model server."""
    return [sys.executable, "-m", "tfsd.model_server"]


def real() -> list[str] | None:
    """The command of tensorflow_model_server, where there is one."""
    found = os.environ.get("SAGEMAKER_TFS_BINARY") or shutil.which("tensorflow_model_server")
    return [found] if found else None


@contextlib.contextmanager
def granian(rest_uri: str) -> Iterator[tuple[int, int]]:
    """granian with a handler that asks `rest_uri`: its port and its process id."""
    port = allocate(1)[0]
    command = [str(OTHERS / "bin" / "granian"), "--interface", "wsgi", "--port", str(port)]
    command += [
        "--workers",
        str(os.cpu_count()),
        "--no-ws",
        "--working-dir",
        str(BENCH),
        "granian_app:application",
    ]
    with _process(command, _handler_environ(rest_uri), f"http://127.0.0.1:{port}/") as pid:
        yield port, pid


@contextlib.contextmanager
def mosec(rest_uri: str) -> Iterator[tuple[int, int]]:
    """mosec with the same handler: its port and its process id."""
    port = allocate(1)[0]
    command = [str(OTHERS / "bin" / "python"), str(BENCH / "mosec_server.py"), "--port", str(port)]
    command += ["--address", "127.0.0.1"]
    with _process(command, _handler_environ(rest_uri), f"http://127.0.0.1:{port}/inference") as pid:
        yield port, pid


def install_others() -> None:
    """An environment for other projects' servers, made once. Raises CalledProcessError."""
    wanted = (BENCH / "requirements.txt").read_text()
    installed = OTHERS / "requirements.txt"
    if installed.is_file() and installed.read_text() == wanted:
        return
    venv.create(OTHERS, clear=True, with_pip=True)
    pip = [str(OTHERS / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", str(BENCH / "requirements.txt")], check=True)
    installed.write_text(wanted)


def _handler_environ(rest_uri: str) -> dict[str, str]:
    return {
        "BENCH_HANDLER": str(SINGLE),
        "BENCH_REST_URI": rest_uri,
        "BENCH_WORKERS": str(os.cpu_count()),
    }


@contextlib.contextmanager
def _process(command: Sequence[str], environ: Mapping[str, str], url: str) -> Iterator[int]:
    """A process that answers a small POST to `url`: its id. It ends with the block, its children with it."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            env=os.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=end_with_parent,
        )
        try:
            _wait(process, url, log)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: object) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(requests.RequestException):
            if requests.post(url, SMALL, headers={"Content-Type": "application/json"}, timeout=5).ok:
                return
        if process.poll() is not None or time.monotonic() > end:
            log.seek(0)  # type: ignore[attr-defined]
            text = log.read()[-2000:].decode("utf-8", "replace")  # type: ignore[attr-defined]
            raise SystemExit(f"{process.args!r} does not answer:\n{text}")
        time.sleep(0.05)
