"""Fixtures that start the parts and stop them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.control import ModelServerStub, Supervisord, eventually


@pytest.fixture
def model_server() -> Iterator[ModelServerStub]:
    stub = ModelServerStub()
    yield stub
    stub.stop()


@pytest.fixture
def start_supervisord(tmp_path: Path) -> Iterator[Callable[[str], Supervisord]]:
    started: list[Supervisord] = []

    def start(sections: str) -> Supervisord:
        started.append(Supervisord(tmp_path, sections))
        eventually(lambda: (tmp_path / "supervisor.sock").exists())
        return started[-1]

    yield start
    for supervisord in started:
        supervisord.stop()
