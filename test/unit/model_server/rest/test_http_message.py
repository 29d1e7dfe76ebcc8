"""HTTP messages: requests in any pieces, libevent's leniency, and what an answer's head has."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.model_server.rest import http_message
from tfsd.model_server.rest.http_message import (
    MAX_HEAD,
    BadRequest,
    Request,
    RequestReader,
    Response,
    render_head,
    stays_open,
)
from tfsd.model_server.rest.http_uri import split_target

POST = b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = (
    b"POST /v1/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2;ext=1\r\nab\r\n1\r\nc\r\n0\r\nTrailer: 1\r\n\r\n"
)
GET = b"GET /y?q#f HTTP/1.0\nX-A: b\n\n"


def read_all(*pieces: bytes) -> list[Request]:
    reader = RequestReader()
    requests = []
    for piece in pieces:
        reader.feed(piece)
        while (request := reader.next()) is not None:
            requests.append(request)
    assert reader.idle
    return requests


@given(st.lists(st.sampled_from((POST, CHUNKED, GET)), max_size=5), st.data())
def test_requests_arrive_whole_whatever_the_pieces(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    requests = read_all(*pieces)

    assert [bytes(request.body) for request in requests] == [b"" if m is GET else b"abc" for m in messages]
    assert [request.uri for request in requests] == ["/y?q#f" if m is GET else "/v1/x" for m in messages]


def test_a_head_that_comes_again_is_another_request() -> None:
    longer = POST.replace(b"3", b"5") + b"de"
    other = POST.replace(b"abc", b"xyz")
    get = b"GET / HTTP/1.1\r\n\r\n"

    requests = read_all(POST, other, POST[:-1], b"c", longer, POST + other, get, get, POST)

    bodies = [b"abc", b"xyz", b"abc", b"abcde", b"abc", b"xyz", b"", b"", b"abc"]
    assert [bytes(request.body) for request in requests] == bodies
    assert [request.method for request in requests] == ["POST"] * 6 + ["GET"] * 2 + ["POST"]
    assert len(set(map(id, requests))) == len(requests)


@pytest.mark.parametrize("ends", ["\n\n", "\n\r\n", "\r\n\n", "\r\n\r\n"])
def test_the_first_empty_line_ends_a_head(ends: str) -> None:
    requests = read_all(
        f"POST / HTTP/1.1\nContent-Length: 9{ends}a\r\n\r\n\n\nbcGET /y HTTP/1.1\r\n\r\n".encode()
    )

    assert [bytes(request.body) for request in requests] == [b"a\r\n\r\n\n\nbc", b""]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(stream: bytes) -> None:
    reader = RequestReader()
    reader.feed(stream + b"\r\n\r\n")
    status = None
    try:
        while reader.next() is not None:
            pass
    except BadRequest as error:
        status = error.response.status

    assert status in (None, 400, 417, 501)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\n\r\n", 400),
        (b"GET /%zz HTTP/1.1\r\n\r\n", 400),
        (b"GET /%?a HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 5x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nExpect: miracles\r\n\r\n", 417),
        (b"TRACE / HTTP/1.1\r\n\r\n", 501),
        (b"BREW /[ HTTP/1.1\r\n\r\n", 501),
        (b"get / HTTP/1.1\r\n\r\n", 501),
    ],
)
def test_refuses_with_a_page(raw: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as caught:
        read_all(raw)

    assert caught.value.response.status == status
    assert caught.value.response.content_type == "text/html"


def test_continue_is_wanted_only_before_the_body_comes() -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    waiting, sending = RequestReader(), RequestReader()
    waiting.feed(head)
    sending.feed(head + b"a")

    assert (waiting.next(), waiting.continues) == (None, True)
    assert (sending.next(), sending.continues) == (None, False)


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("/v1/models/a%2Fb:predict", ("/v1/models/a%2Fb:predict",) * 2),
        ("/a?x=1#y", ("/a", "/a?x=1#y")),
        ("http://u@[::1]:80/a?x", ("/a", "/a?x")),
        ("//host/a", ("/a", "/a")),
        ("*", ("*", "*")),
        ("http://host:70000/a", None),
        ("/a%2", None),
        ("/a?b[]", None),
        ("/" + "a" * 5000 + "[", None),
        ("/a\x80", None),
    ],
)
def test_targets_are_split(target: str, parts: tuple[str, str] | None) -> None:
    assert split_target(target) == parts


def head_lines(request: Request, response: Response) -> set[str]:
    lines = render_head(request, response, stays_open(request, response)).decode().split("\r\n")
    return {line for line in lines if line and not line.startswith("Date: ")}


def test_the_head_of_an_answer() -> None:
    answer = Response(200, "application/json", b"{}", (("X-A", "b"),))
    (kept,) = read_all(POST)
    (old,) = read_all(GET)
    common = {"Content-Type: application/json", "X-A: b"}

    assert head_lines(kept, answer) == common | {"HTTP/1.1 200 OK", "Content-Length: 2"}
    assert head_lines(old, answer) == common | {"HTTP/1.0 200 OK", "Connection: close"}


def test_a_head_request_gets_no_length_and_ends_the_connection() -> None:
    (request,) = read_all(b"HEAD / HTTP/1.1\r\n\r\n")
    answer = Response(400, "application/json", b"{}")

    assert head_lines(request, answer) == {
        "HTTP/1.1 400 Bad Request",
        "Content-Type: application/json",
        "Connection: close",
    }
    assert not stays_open(request, answer)


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [("1.1", "", True), ("1.1", "Close", False), ("1.0", "", False), ("1.0", "Keep-Alive", True)],
)
def test_which_connections_are_kept(version: str, connection: str, kept: bool) -> None:
    header = f"Connection: {connection}\r\n" if connection else ""
    (request,) = read_all(f"GET / HTTP/{version}\r\n{header}\r\n".encode())

    assert stays_open(request, Response(200, "text/plain")) is kept


def test_a_head_has_a_limit_in_one_piece_and_in_two() -> None:
    start, end = b"GET / HTTP/1.1\r\nX-A: ", b"\r\n\r\n"
    value = b"a" * (MAX_HEAD - len(start) - len(end))
    assert read_all(start + value + end)[0].headers == {"x-a": value.decode()}
    assert read_all(start + value, end)[0].headers == {"x-a": value.decode()}
    for pieces in ((start + value + b"a" + end,), (start + value + b"a", end), (start + value + b"aaaaa",)):
        with pytest.raises(BadRequest):
            read_all(*pieces)


class _Looks:
    """A pattern that notes how many bytes it is asked to look at."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern
        self.bytes = 0

    def search(self, text: bytearray, start: int = 0) -> Any:
        self.bytes += len(text) - start
        return self._pattern.search(text, start)


def test_a_head_in_many_pieces_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = _Looks(http_message._HEAD_END)
    monkeypatch.setattr(http_message, "_HEAD_END", looks)
    lines = "".join(f"X-{number}: \r\n" for number in range(1000))
    head = f"GET / HTTP/1.1\r\n{lines}\r\n".encode()
    (request,) = read_all(*(head[at : at + 1] for at in range(len(head))))
    assert len(request.headers) == 1000
    assert looks.bytes < 5 * len(head)


@pytest.mark.parametrize("line", [b"", b"1;", b"3\r\nabc\r\n", b"0\r\n", b"0\r\nX: y\r\n"])
def test_a_line_of_chunks_has_a_limit(line: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    reader = RequestReader()
    reader.feed(head + line)
    assert reader.next() is None
    half = b"0" * (MAX_HEAD // 2)
    reader.feed(half)
    assert reader.next() is None
    reader.feed(half + b"00000")
    with pytest.raises(BadRequest):
        reader.next()


def test_trailers_are_not_kept() -> None:
    reader = RequestReader()
    reader.feed(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n")
    sizes = []
    for _ in range(100):
        reader.feed(b"X: y\r\nZ")
        assert reader.next() is None
        sizes.append(len(reader._pending))
    assert set(sizes) == {1}
    reader.feed(b"\r\n\r\n" + GET)
    assert [bytes(request.body) for request in iter(reader.next, None)] == [b"abc", b""]
