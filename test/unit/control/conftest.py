"""Fixtures that start the parts and stop them again."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.control import ModelServerStub, Supervisord, eventually


@pytest.fixture
def model_server() -> Iterator[ModelServerStub]:
    stub = ModelServerStub()
    yield stub
    stub.stop()


def _is_listened_on(path: Path) -> bool:
    """Whether a unix socket takes connections; its file is there a moment earlier."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


@pytest.fixture
def start_supervisord(tmp_path: Path) -> Iterator[Callable[[str], Supervisord]]:
    started: list[Supervisord] = []

    def start(sections: str) -> Supervisord:
        started.append(Supervisord(tmp_path, sections))
        eventually(lambda: _is_listened_on(tmp_path / "supervisor.sock"))
        return started[-1]

    yield start
    for supervisord in started:
        supervisord.stop()
