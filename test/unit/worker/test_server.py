from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from gevent import socket

from tfsd.incoming import READ_BYTES
from tfsd.worker.app import Invocations
from tfsd.worker.server import INTERNAL_ERROR, ONE_WRITE_BYTES, inherited_listener
from tfsd.wsgi import MAX_HEADERS, MAX_LINE_BYTES


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (b"no colon\r\n", "line 1 of its headers"),
        (b"a: b\r\n: no name\r\n", "line 2 of its headers"),
        (b" folded: x\r\n", "line 1 of its headers"),
        (b"cut: off", "line 2 of its headers"),
        (b"a: b\r\n" * (MAX_HEADERS + 1), "more than 200 headers"),
        (b"Content-Length: x\r\n", "Content-Length"),
    ],
)
def test_a_malformed_request_is_refused_and_the_next_is_served(
    serve: Callable[..., Any], lines: bytes, reason: str
) -> None:
    client = serve(lambda data, context: "fine")
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(client.path)
        raw.sendall(b"POST /invocations HTTP/1.1\r\n" + lines + b"\r\n")
        raw.shutdown(1)
        head, _, body = raw.recv(1000).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"Content-Type: application/json" in head
    assert reason in json.loads(body)["error"]
    assert client.invoke().body == b"fine"


def test_as_many_headers_as_are_allowed(serve: Callable[..., Any]) -> None:
    client = serve(lambda data, context: "fine")
    headers = {f"X-{number}": "x" for number in range(MAX_HEADERS - 3)}  # and Host, lengths, encodings
    assert client.request("POST", "/invocations", b"", headers).body == b"fine"


@pytest.mark.parametrize(("more", "status"), [(0, 200), (1, 400)])
def test_how_long_a_header_may_be(serve: Callable[..., Any], more: int, status: int) -> None:
    client = serve(lambda data, context: "fine")
    value = "x" * (MAX_LINE_BYTES - len("X-Long: \r\n") + more)
    response = client.request("POST", "/invocations", b"", {"X-Long": value})
    assert response.status == status
    assert response.body == b"fine" or "malformed" in response.json()["error"]


def test_a_header_with_an_underscore_passes_for_no_other(serve: Callable[..., Any]) -> None:
    client = serve(lambda data, context: context.custom_attributes or "none")
    headers = {"X_Amzn_SageMaker_Custom_Attributes": "tfs-model-name=half_plus_two"}
    response = client.request("POST", "/invocations", b"", headers)
    assert response.body == b"none"


@pytest.mark.parametrize("size", [0, 10, READ_BYTES, 10 * READ_BYTES])
@pytest.mark.parametrize("answered", [0, 10, 2 * ONE_WRITE_BYTES])
def test_requests_of_any_size_on_one_connection(serve: Callable[..., Any], size: int, answered: int) -> None:
    """Whether a request has come whole, and its response leaves in one write, is nothing that a client sees."""
    client = serve(lambda data, context: (data.read()[::-1] + bytes(answered), "x/y", {"X-A": "b"}))
    body = os.urandom(size)
    for _ in range(3):
        response = client.invoke(body)
        assert response.body == body[::-1] + bytes(answered)
        assert (response.status, response.headers["X-A"], response.headers["Content-Type"]) == (
            200,
            "b",
            "x/y",
        )


def test_a_sender_that_goes_away_in_the_middle_of_its_body_is_no_event_for_the_log(
    serve: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    client = serve(lambda data, context: data.read())
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(client.path)
        raw.sendall(b"POST /invocations HTTP/1.1\r\nContent-Length: 100000\r\n\r\nthe beginning")
        raw.shutdown(socket.SHUT_WR)
        assert raw.recv(1000) == b""
    assert client.invoke(b"whole").body == b"whole"
    assert caplog.messages == []


def test_a_defect_of_ours_is_a_500(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve(lambda data, context: "fine")
    assert client.invoke().body == b"fine"
    monkeypatch.setattr(Invocations, "reply", lambda *_: 1 / 0)
    response = client.invoke()
    assert (response.status, response.json()) == (500, {"error": INTERNAL_ERROR})


def test_query_strings_are_no_part_of_the_path(serve: Callable[..., Any]) -> None:
    assert serve(lambda data, context: "x").request("POST", "/invocations?a=b", b"").status == 200


def test_a_descriptor_that_does_not_listen() -> None:
    with socket.socket() as not_listening, pytest.raises(OSError, match="does not listen"):
        inherited_listener(not_listening.detach())
