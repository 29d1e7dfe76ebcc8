from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent import socket

from tfsd.readable import Readable


@pytest.fixture
def pair() -> Iterator[Any]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def readable(pair: Any) -> Iterator[Readable]:
    made = Readable(pair[0])
    yield made
    made.close()


def test_each_wait_ends_when_something_has_come(pair: Any, readable: Readable) -> None:
    ours, theirs = pair
    for _ in range(3):
        waiting = gevent.spawn(readable.wait)
        gevent.sleep()
        gevent.sleep()
        assert not waiting.ready()
        theirs.send(b"x")
        waiting.join(10)
        assert waiting.successful()
        assert ours.recv(10) == b"x"


def test_what_came_while_nobody_waited_is_there(pair: Any, readable: Readable) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    readable.wait()
    while readable._watcher.active:  # nobody takes it: the event loop is not to be told again and again
        gevent.sleep(0.001)
    readable.wait()
    assert ours.recv(10) == b"x"


def test_the_end_can_be_read(pair: Any, readable: Readable) -> None:
    ours, theirs = pair
    theirs.close()
    readable.wait()
    assert ours.recv(10) == b""


def test_a_time_limit_ends_a_wait_and_the_next_one_works(pair: Any, readable: Readable) -> None:
    _, theirs = pair
    with gevent.Timeout(0.001, False):
        readable.wait()
    theirs.send(b"x")
    readable.wait()


def test_closed_twice(readable: Readable) -> None:
    readable.close()
    readable.close()
