"""Kept connections of an endpoint that drains, in a real nginx."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.nginx import RunningNginx
from tfsd.run_dir import RunDir
from tfsd.stack.nginx import Nginx
from tfsd.stack.templates import render

PATHS = ("/invocations", "/models/a%2Fb/invoke?c=d", "/v1/models/a%2Fb:predict?c=d", "/v2")


@pytest.fixture
def run_dir(short_dir: Path) -> RunDir:
    return RunDir(short_dir)


@pytest.fixture(params=[False, True], ids=["single-model", "multi-model"])
def multi_model(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def nginx(run_dir: RunDir, any_nginx: Nginx, multi_model: bool) -> Iterator[RunningNginx]:
    """An nginx that answers with the address that it was asked for."""
    in_server = render("draining.conf", run_dir=run_dir, multi_model=multi_model)
    in_location = "" if multi_model else render("to_drain.conf", run_dir=run_dir)
    block = (
        f"uninitialized_variable_warn off; server {{ listen LISTEN; {in_server}"
        f'location / {{ {in_location} return 200 "$request_uri"; }} }}'
    )
    running = RunningNginx(any_nginx, run_dir.path, block)
    yield running
    running.stop()


def ask(nginx: RunningNginx, path: str) -> tuple[str, bool]:
    """The answer to a POST, and whether the connection stays open."""
    connection = nginx.connect()
    connection.request("POST", path, "body")
    answer = connection.getresponse()
    text = answer.read().decode()
    kept = connection.sock is not None
    connection.close()
    return text, kept


@pytest.mark.parametrize("path", PATHS)
def test_a_client_keeps_its_connection(nginx: RunningNginx, path: str) -> None:
    assert ask(nginx, path) == (path, True)


@pytest.mark.parametrize("path", PATHS)
def test_a_client_is_sent_away_after_its_answer(nginx: RunningNginx, run_dir: RunDir, path: str) -> None:
    run_dir.draining.touch()
    assert ask(nginx, path) == (path, False)


def test_everything_else_is_as_ever(nginx: RunningNginx, run_dir: RunDir) -> None:
    run_dir.draining.touch()
    assert ask(nginx, "/readyz") == ("/readyz", True)


def test_nobody_asks_for_the_way_there(nginx: RunningNginx) -> None:
    assert "404 Not Found" in ask(nginx, "/draining/invocations")[0]
