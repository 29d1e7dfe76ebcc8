from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import bottle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.errors import HttpError, NotFound
from tfsd.worker.replies import BadResult, Stream, checked_headers, from_error, from_exception, from_result


def sent(reply: Any) -> bytes:
    return b"".join(reply.body) if isinstance(reply.body, Stream) else reply.body


@pytest.mark.parametrize(
    ("result", "body"),
    [
        (b"bytes", b"bytes"),
        ("täxt", "täxt".encode()),
        ("", b""),
        (None, b""),
        ({"a": [1, None, 2.5]}, b'{"a": [1, null, 2.5]}'),
        ([1, 2], b"[1, 2]"),
        (bytearray(b"array"), b"array"),
        (memoryview(b"view"), b"view"),
        (7, b"7"),
        ({"p": np.array([[1.5, 2.0]]), "n": np.int64(3)}, b'{"p": [[1.5, 2.0]], "n": 3}'),
        ({"p": float("nan")}, b'{"p": NaN}'),
        (np.arange(3), b"[0, 1, 2]"),
        (iter([b"a", "b", b"", bytearray(b"c")]), b"abc"),
        (io.BytesIO(b"file"), b"file"),
        (io.StringIO("text file"), b"text file"),
        (("only body",), b"only body"),
    ],
)
def test_bodies(result: Any, body: bytes) -> None:
    reply = from_result(result)
    assert (reply.status, sent(reply)) == (200, body)
    assert reply.headers == [("Content-Type", "application/json")]


@pytest.mark.parametrize(
    ("result", "headers"),
    [
        (("x", "text/csv"), [("Content-Type", "text/csv")]),
        (("x", None), [("Content-Type", "application/json")]),
        (("x", "text/csv", None), [("Content-Type", "text/csv")]),
        (("x", "text/csv", {"A": 1}), [("Content-Type", "text/csv"), ("A", "1")]),
        (
            ("x", None, [("A", "1"), ("A", "2")]),
            [("Content-Type", "application/json"), ("A", "1"), ("A", "2")],
        ),
        (("x", None, {"content-type": "a/b"}), [("content-type", "a/b")]),
        (("x", "a/b", {"Content-Length": "99", "Transfer-Encoding": "x"}), [("Content-Type", "a/b")]),
    ],
)
def test_types_and_headers(result: tuple[Any, ...], headers: list[Any]) -> None:
    reply = from_result(result)
    assert reply.headers == headers
    assert reply.body == b"x"


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ((1, 2, 3, 4), "a tuple of 4 items"),
        ((), "a tuple of 0 items"),
        ({"a": object()}, "object is not JSON"),
        ({1, 2}, "set"),
        (("x", "text/plain\r\nA: b"), "Content-Type"),
        (("x", 404), "404 as the content type"),
        (("x", "a/b", {"A b": "c"}), "'A b'"),
        (("x", "a/b", {"A": "€"}), "€"),
        (("x", "a/b", "headers"), "a dict or a list"),
        (("x", "a/b", {1: "c"}), "a dict or a list"),
    ],
)
def test_refused_results(result: dict[str, Any] | set[Any] | tuple[Any, ...], said: str) -> None:
    with pytest.raises(BadResult, match=said.replace("(", r"\(")):
        from_result(result)


def test_a_stream_of_something_else() -> None:
    with pytest.raises(BadResult, match="yielded int"):
        from_result(iter([1]))


def test_a_streams_source_is_closed() -> None:
    closed = []

    def pieces() -> Iterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(1)

    reply = from_result(pieces())
    assert not closed
    assert not isinstance(reply.body, bytes)
    reply.body.close()
    assert closed


def test_bottle_responses() -> None:
    reply = from_result(bottle.HTTPResponse({"a": 1}, 202, {"X-A": "b", "Content-Type": "application/json"}))
    assert (reply.status, reply.body) == (202, b'{"a": 1}')
    assert ("X-A", "b") in reply.headers
    reply = from_result(bottle.HTTPResponse({"a": 1}, 202, Set_Cookie="a=b"))
    assert sorted(reply.headers) == [("Content-Type", "application/json"), ("Set-Cookie", "a=b")]
    reply = from_exception(bottle.HTTPError(404, "not <here>", **{"X-A": "b"}))
    assert (reply.status, json.loads(sent(reply))) == (404, {"error": "not <here>"})
    assert reply.headers == [("Content-Type", "application/json"), ("X-A", "b")]


@pytest.mark.parametrize(
    ("code", "status"),
    [(404, 404), (599, 599), (200, 500), (600, 500), ("404", 500), (None, 500), (True, 500)],
)
def test_status_code_of_an_exception(code: Any, status: int) -> None:
    error = ValueError("text")
    vars(error)["status_code"] = code
    assert from_exception(error).status == status


def test_our_own_errors() -> None:
    assert from_exception(NotFound("no such model")).status == 404
    reply = from_exception(HttpError(503, "down", {"Retry-After": "1"}))
    assert reply.status == 503
    assert ("Retry-After", "1") in reply.headers


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_an_error_is_always_a_document_that_says_the_text(text: str) -> None:
    document = json.loads(sent(from_error(500, text)))
    assert document["error"] == text or document == json.loads(text)


@given(st.lists(st.tuples(st.text(), st.text())))
def test_headers_never_break_out_of_their_line(pairs: list[Any]) -> None:
    try:
        checked = checked_headers(pairs)
    except BadResult:
        return
    for name, value in checked:
        raw = f"{name}: {value}".encode("latin-1")
        assert not set(raw) & set(b"\r\n\0")
