"""Handlers that return a generator: chunked answers."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Callable, Iterator
from typing import Any

import bottle
import gevent
import pytest


def test_pieces_come_as_they_are_made(serve: Callable[..., Any]) -> None:
    go_on = gevent.event.Event()

    def handler(data: Any, context: Any) -> Iterator[bytes | str]:
        yield "first\n"
        go_on.wait()
        yield b""
        yield b"second\n"

    response = serve(handler).open("POST", "/invocations", b"")
    assert response.getheader("Transfer-Encoding") == "chunked"
    assert response.getheader("Content-Type") == "application/json"
    assert response.readline() == b"first\n"
    go_on.set()
    assert response.read() == b"second\n"


def test_content_type(serve: Callable[..., Any]) -> None:
    response = serve(lambda data, context: (iter(["a", "b"]), "text/event-stream")).invoke()
    assert (response.body, response.headers["Content-Type"]) == (b"ab", "text/event-stream")


def test_an_error_before_the_first_piece_has_a_status(serve: Callable[..., Any]) -> None:
    def handler(data: Any, context: Any) -> Iterator[None]:
        raise bottle.HTTPError(400, "bad image")
        yield

    assert serve(handler).invoke().status == 400


@pytest.mark.parametrize("error", [ValueError, SystemExit, gevent.GreenletExit, asyncio.CancelledError])
def test_a_later_error_cuts_the_connection(
    serve: Callable[..., Any], caplog: pytest.LogCaptureFixture, error: type[Any]
) -> None:
    def handler(data: Any, context: Any) -> Iterator[bytes]:
        yield b"first"
        raise error("broken later")

    client = serve(handler)
    response = client.open("POST", "/invocations", b"")
    with pytest.raises(http.client.IncompleteRead):
        response.read()
    client.connection.close()
    assert [str(r.exc_info[1]) for r in caplog.records if r.exc_info] == ["broken later"]


def test_a_client_that_leaves_closes_the_generator(serve: Callable[..., Any]) -> None:
    closed = gevent.event.Event()

    def handler(data: Any, context: Any) -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 100_000
                gevent.sleep(0)
        finally:
            closed.set()

    client = serve(handler)
    client.open("POST", "/invocations", b"").read(10)
    client.connection.close()
    client.connection.sock = None
    assert closed.wait(10)


def test_an_empty_stream(serve: Callable[..., Any]) -> None:
    assert serve(lambda data, context: iter(())).invoke().body == b""
