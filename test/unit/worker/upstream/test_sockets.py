"""Connecting to a model server's unix socket, at which others may wait to be accepted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket

from tfsd.worker.upstream import sockets
from tfsd.worker.upstream.sockets import connected


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """The path of a socket at which no more can wait, and who listens there."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(path)
        listener.listen(0)
        waiting.connect(path)
        yield path, listener


def test_who_finds_no_room_tries_again_after_a_pause(
    full: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, listener = full
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            listener.accept()[0].close()

    monkeypatch.setattr(gevent, "sleep", pause)
    connected(path, 60).close()
    assert pauses == [sockets.FULL_PAUSE_SECONDS] * 3


def test_who_finds_no_room_in_time(full: tuple[str, Any]) -> None:
    with pytest.raises(TimeoutError, match="accepts no connection"):
        connected(full[0], 0.05)


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        connected(str(tmp_path / "none"), 5)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "closed"))
    with pytest.raises(ConnectionRefusedError):
        connected(str(tmp_path / "closed"), 5)
