"""Requests go on to user code in the order in which nginx passed them on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent import socket
from hypothesis import given
from hypothesis import strategies as st

from tfsd.worker.turns import Turns


@given(st.lists(st.floats(0, 100), unique=True))
def test_the_first_goes_first(times: list[float]) -> None:
    turns, gone_on = Turns(), []

    def request(since: float) -> None:
        turns.wait(since)
        gone_on.append(since)

    gevent.joinall([gevent.spawn(request, since) for since in times], raise_error=True)
    assert gone_on == sorted(times)


@pytest.mark.parametrize("line", [b"", b"X-Tfsd-Passed-On: no time\r\n"], ids=["absent", "malformed"])
def test_a_request_without_a_time_comes_last(serve: Callable[..., Any], line: bytes) -> None:
    served: list[bytes] = []

    def handler(data: Any, context: Any) -> bytes:
        served.append(data.read())
        return b"{}"

    client = serve(handler)
    with socket.socket(socket.AF_UNIX) as without, socket.socket(socket.AF_UNIX) as with_time:
        for connection, more in ((without, line), (with_time, b"X-Tfsd-Passed-On: 1.0\r\n")):
            connection.connect(client.path)
            name = b"1" if more == line else b"2"
            connection.sendall(b"POST /invocations HTTP/1.1\r\n%bContent-Length: 1\r\n\r\n%b" % (more, name))
        assert b"X-Tfsd-Queued" not in without.recv(1000)
        assert b"X-Tfsd-Queued" in with_time.recv(1000)
    assert served == [b"2", b"1"]


def test_one_that_is_given_up_holds_nobody_up() -> None:
    turns, gone_on = Turns(), []

    def request(since: int) -> None:
        turns.wait(since)
        gone_on.append(since)

    greenlets = [gevent.spawn(request, since) for since in range(4)]
    # called when all have begun to wait, and none has gone on
    gevent.get_hub().loop.run_callback(greenlets[1].throw, gevent.GreenletExit)
    gevent.joinall(greenlets)
    assert gone_on == [0, 2, 3]


def test_a_time_limit_ends_the_wait() -> None:
    turns = Turns()

    def wait_for_ever() -> None:
        while True:
            turns.wait(time.time())

    with gevent.Timeout(0.01) as limit, pytest.raises(gevent.Timeout) as raised:
        wait_for_ever()
    assert raised.value is limit
    turns.wait(time.time())  # and the next goes on


def test_a_busy_connection_does_not_keep_the_loop_from_the_others() -> None:
    """Its next request has come when the last one is answered, so that it never waits for its socket."""
    turns, gone_on = Turns(), []
    ours, theirs = socket.socketpair()

    def other() -> None:
        ours.recv(1)
        turns.wait(2.0)
        gone_on.append("other")

    def busy() -> None:
        theirs.send(b"x")
        while len(gone_on) < 20 and "other" not in gone_on:
            turns.wait(3.0 + len(gone_on))
            gone_on.append("busy")
            began = time.monotonic()
            while time.monotonic() < began + 0.002:
                pass

    with ours, theirs:
        gevent.joinall([gevent.spawn(other), gevent.spawn(busy)], raise_error=True)
    assert gone_on.index("other") <= 2


@pytest.mark.parametrize("step", [0.001, 0.0], ids=["milliseconds apart", "within a millisecond"])
def test_requests_that_are_found_at_once_are_served_as_they_came(
    serve: Callable[..., Any], step: float
) -> None:
    served: list[bytes] = []

    def handler(data: Any, context: Any) -> bytes:
        served.append(data.read())
        return b"{}"

    client = serve(handler)
    connections = [socket.socket(socket.AF_UNIX) for _ in range(8)]
    for connection in connections:
        connection.connect(client.path)
    for first in (9.0, 10.0):  # in the second round all connections are known to the event loop
        served.clear()
        for number, connection in enumerate(connections):
            passed_on = b"X-Tfsd-Passed-On: %.3f" % (first + number * step)
            connection.sendall(
                b"POST /invocations HTTP/1.1\r\n%b\r\nContent-Length: 1\r\n\r\n%d" % (passed_on, number)
            )
        for connection in connections:
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert served == [b"%d" % number for number in range(8)]
    for connection in connections:
        connection.close()
