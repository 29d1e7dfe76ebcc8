"""Bodies that have not come whole: read, or sent on from socket to socket."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import socket
from hypothesis import given
from hypothesis import strategies as st

from support.arriving import arriving
from tfsd import incoming
from tfsd.incoming import BodyCut, BodyGone, Remainder

BODY = bytes(range(256)) * 4000  # more than a unix socket takes at once
WAYS = ("kernel", "copies")


def by(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "_splices", lambda: way == "kernel")


@contextlib.contextmanager
def sink() -> Iterator[tuple[Any, Callable[[], bytes]]]:
    """A socket, and what was sent to it up to its end."""
    ours, theirs = socket.socketpair()
    received = bytearray()

    def receive() -> None:
        while piece := theirs.recv(100_000):
            received.extend(piece)

    receiver = gevent.spawn(receive)

    def all_of_it() -> bytes:
        ours.close()
        receiver.join()
        return bytes(received)

    with theirs:
        yield ours, all_of_it
        ours.close()
        receiver.join()


def test_it_is_read_as_any_other() -> None:
    with arriving(BODY, 100) as body:
        assert body.begun == BODY[:100]
        assert body.read(50) == BODY[:50]
        assert body.begun == b""
        assert body.read() == BODY[50:]


@pytest.mark.parametrize("way", WAYS)
@given(st.integers(1, 3000), st.lists(st.integers(1, len(BODY)), max_size=4))
def test_what_is_sent_on_is_the_body_however_it_is_cut(way: str, begun: int, sizes: list[int]) -> None:
    start = begun // 2
    with pytest.MonkeyPatch.context() as patched, arriving(BODY, begun) as body, sink() as (target, received):
        by(way, patched)
        remainder = Remainder(body, start)
        assert len(remainder) == len(BODY) - start
        remainder.begin()
        left = len(remainder)
        for size in [*sizes, left]:
            size = min(size, left)
            held = remainder.held(size)
            target.sendall(held)
            remainder.send(target, size - len(held))
            left -= size
        assert received() == BODY[start:]
        assert body.read() == b""


@pytest.mark.parametrize("way", WAYS)
def test_it_can_be_sent_anew_as_long_as_nothing_but_its_beginning_was(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by(way, monkeypatch)
    with arriving(BODY, 100) as body, sink() as (target, _):
        remainder = Remainder(body, 10)
        for _ in range(2):
            remainder.begin()
            assert bytes(remainder.held(200)) == BODY[10:100]
        remainder.send(target, 110)
        with pytest.raises(BodyGone):
            remainder.begin()


@pytest.mark.parametrize("way", WAYS)
def test_a_body_that_ends_too_early(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    by(way, monkeypatch)
    with arriving(BODY, 100, len(BODY) + 1) as body, sink() as (target, received):
        with pytest.raises(BodyCut):
            body.send_on(target, len(BODY) - 99)
        body._discard()  # nothing is waited for
        assert received() == BODY[100:]


def test_a_body_that_ends_too_early_while_it_is_read() -> None:
    with arriving(BODY, 100, len(BODY) + 1) as body:
        with pytest.raises(BodyCut):
            body.read()
        body._discard()


@pytest.mark.parametrize("way", WAYS)
def test_what_was_not_sent_on_is_read_off_the_connection(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    by(way, monkeypatch)
    with arriving(BODY, 100) as body, sink() as (target, received):
        body.send_on(target, 1000)
        body._discard()
        assert body.position == len(BODY)
        assert received() == BODY[100:1100]


@pytest.mark.parametrize("way", WAYS)
def test_who_takes_no_more(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    by(way, monkeypatch)
    target, gone = socket.socketpair()
    gone.close()
    with arriving(BODY, 100) as body, target:
        with pytest.raises(BrokenPipeError):
            body.send_on(target, 1000)
        body._discard()
        assert body.position == len(BODY)


def test_without_a_pipe_it_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(flags: int) -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    by("kernel", monkeypatch)
    monkeypatch.setattr(os, "pipe2", no_more)
    with arriving(BODY, 100) as body, sink() as (target, received):
        body.send_on(target, len(BODY) - 100)
        assert received() == BODY[100:]


def test_a_kernel_that_does_not_splice_sockets_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: int, **__: int) -> int:
        raise OSError(22, "Invalid argument")

    assert incoming._splices.__wrapped__()
    monkeypatch.setattr(os, "splice", refused)
    assert not incoming._splices.__wrapped__()
