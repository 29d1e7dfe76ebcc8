"""Request headers as they are read, and plain requests, which mean what they mean to pywsgi."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.incoming import READ_BYTES, Arriving
from tfsd.wsgi import MAX_HEADERS, Handler, Headers, _remembered_rest, plain_response, send, status_line

NAMES = st.text("abcXYZ-0129_", min_size=1)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f\x85"))


@given(st.lists(st.tuples(NAMES, VALUES)))
def test_headers_are_read_as_written(pairs: list[Any]) -> None:
    raw = "".join(f"{name}: {value}\r\n" for name, value in pairs) + "\r\n"
    stream = io.BytesIO(raw.encode("latin-1") + b"body")
    headers = Headers(stream)
    assert not headers.status
    assert headers.pairs == [(name, value.strip()) for name, value in pairs]
    assert stream.read() == b"body"


@given(st.binary())
def test_any_bytes_are_headers_or_refused(raw: bytes) -> None:
    headers = Headers(io.BytesIO(raw))
    assert headers.status or b"\n" in raw


class Trickle:
    """A socket whose bytes come `most` at a time. Nothing is ever waited for."""

    def __init__(self, data: bytes, most: int, sent: bytearray | None = None) -> None:
        self._data = io.BytesIO(data)
        self._most = most
        self._sock = self  # as gevent's sockets have the one that does not wait
        self.sendall = bytearray().extend if sent is None else sent.extend

    def recv(self, size: int) -> bytes:
        return self._data.read(min(self._most, size))

    def recv_into(self, buffer: Any) -> int:
        piece = self.recv(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        pass


AT_ONCE: Any = SimpleNamespace(wait=lambda: None, close=lambda: None)  # in place of a Readable


def conversation(
    requests: bytes, most: int, status: str, headers: list[tuple[str, str]], response: bytes = b"response"
) -> tuple[Any, bytes]:
    """What an application sees of requests that come `most` bytes at a time, and what is sent for its responses."""
    seen, sent = [], bytearray()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ.pop("wsgi.input").read()
        seen.append((dict(environ), body))
        start_response(status, headers)
        return [response]

    serve(Trickle(requests, most, sent), application)
    return seen, re.sub(rb"Date: [^\r]*", b"Date", bytes(sent))


def serve(sock: Trickle, application: Any) -> None:
    """Serve all requests that come over a connection."""
    nowhere = SimpleNamespace(write=lambda _: None)
    server = SimpleNamespace(
        application=application,
        environ={},
        get_environ=dict,
        log=nowhere,
        error_log=nowhere,
        secure_environ_class=dict,
    )
    Handler(sock, "", server, AT_ONCE).handle()


def plain(body: bytes, *lines: bytes, first: bytes = b"POST /invocations HTTP/1.1") -> bytes:
    return b"\r\n".join([first, b"Content-Length: %d" % len(body), *lines, b"", body])


@pytest.mark.parametrize(("lines", "sent_on"), [([], True), ([b"Connection: close"], False)])
def test_a_body_can_be_sent_on_that_comes_over_a_kept_connection(lines: list[bytes], sent_on: bool) -> None:
    """nginx tries a second time over a connection that is closed (conf/nginx.conf): then the body has to be kept."""
    bodies = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        bodies.append(environ["wsgi.input"])
        start_response("200 OK", [])
        return []

    serve(Trickle(plain(bytes(2 * READ_BYTES), *lines), READ_BYTES), application)
    assert [isinstance(body, Arriving) for body in bodies] == [sent_on]


LINES = st.builds(
    lambda name, value: f"{name}: {value}".encode("latin-1"),
    st.sampled_from(["Accept", "accept", "X-A", "X_A", "Content-Type", "Host"]),
    VALUES,
)


@given(st.lists(st.tuples(st.lists(LINES, max_size=5), st.binary(max_size=50)), min_size=1, max_size=3))
def test_a_plain_request_means_what_it_means_to_pywsgi(requests: list[tuple[list[bytes], bytes]]) -> None:
    data = b"".join(plain(body, *lines) for lines, body in requests)
    headers = [("Content-Type", "text/csv")]
    at_once = conversation(data, len(data), "200 OK", headers)
    assert at_once == conversation(data, 1, "200 OK", headers)
    assert [body for _, body in at_once[0]] == [body for _, body in requests]


def from_nginx(body: bytes, *lines: bytes, own: tuple[str, str] = ("1a-2-3", "1795932961.234")) -> bytes:
    first = [b"POST /invocations HTTP/1.1", b"Host: here"]
    names = ("X-Tfsd-Request-Id", "X-Tfsd-Passed-On")
    headers = [f"{name}: {value}".encode("latin-1") for name, value in zip(names, own, strict=True)]
    return b"\r\n".join([*first, *headers, b"Content-Length: %d" % len(body), *lines, b"", body])


@given(st.lists(LINES, max_size=5), st.tuples(VALUES, VALUES), st.binary(max_size=50))
def test_what_nginx_passes_on_means_what_it_means_to_pywsgi(
    lines: list[bytes], own: tuple[str, str], body: bytes
) -> None:
    data = from_nginx(body, *lines, own=own) + from_nginx(b"next", *lines)
    headers = [("Content-Type", "text/csv")]
    at_once = conversation(data, len(data), "200 OK", headers)
    assert at_once == conversation(data, 1, "200 OK", headers)
    assert [body for _, body in at_once[0]] == [body, b"next"]


def test_heads_of_nginx_are_remembered() -> None:
    """Each with its own id, time and length."""
    _remembered_rest.cache_clear()
    for number in range(3):
        request = from_nginx(b"a" * number, b"Accept: */*", own=(f"id-{number}", f"{number}.000"))
        ((environ, body),) = conversation(request, 1000, "200 OK", [])[0]
        assert (environ["HTTP_X_TFSD_REQUEST_ID"], len(body)) == (f"id-{number}", number)
    assert _remembered_rest.cache_info().hits == 2


@pytest.mark.parametrize(
    "request_",
    [
        from_nginx(b"ab", b"Content-Length: 2"),
        from_nginx(b"ab", b"X-Tfsd-Passed-On: 2"),
        from_nginx(b"ab", b"Connection: close"),
        from_nginx(b"ab", own=("a\nb", "1.0")),
        plain(b"ab", b"Content-Length: 2"),
        plain(b"ab", b"Connection: close"),
        plain(b"ab", b"Expect: x"),
        plain(b"ab", b"no colon"),
        plain(b"ab", b" folded: x"),
        plain(b"ab", b"a: b\nX-C: d"),
        plain(b"ab", *[b"a: b"] * MAX_HEADERS),
        plain(b"ab", first=b"POST  /invocations HTTP/1.1"),
        plain(b"ab", first=b"POST /invocations HTTP/1.0"),
        plain(b"ab", first=b"POST /a%20b?c=d HTTP/1.1"),
        plain(b"", first=b"HEAD / HTTP/1.1"),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: +2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nContent-Length: -2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\nContent-Length: 2\n\nab",
        b"",
    ],
    ids=[
        *("length again", "time again", "nginx closes", "line feed in an id"),
        *(
            "two lengths",
            "close",
            "expect",
            "no colon",
            "folded",
            "line feed",
            "many",
            "spaces",
            "1.0",
            "escaped",
        ),
        *("head", "no length", "plus", "minus", "chunked", "line feeds", "nothing"),
    ],
)
def test_a_request_out_of_the_way_is_pywsgis(request_: bytes) -> None:
    data = request_ + plain(b"next")
    headers = [("Content-Type", "text/csv")]
    assert conversation(data, len(data), "200 OK", headers) == conversation(data, 1, "200 OK", headers)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("200 OK", [("X", "y")]),
        ("200 OK", [("X", "\xe9")]),
        ("200 OK", [("Connection", "close")]),
        ("200 OK", [("Content-Length", "8")]),
        ("200 OK", [("Date", "today")]),
        ("404 Not Found", []),
        ("299 ", [("X", "")]),
    ],
    ids=["plain", "latin-1", "close", "length", "date", "404", "no reason"],
)
def test_a_response_is_written_as_pywsgi_writes_it(
    status: str, headers: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = plain(b"a") + plain(b"b")
    ours = conversation(data, len(data), status, headers)
    monkeypatch.delattr(Handler, "start_response")
    assert ours == conversation(data, len(data), status, headers)


@pytest.mark.parametrize(
    ("status", "header"), [("200 OK", ("X", "a\r\nb")), ("200 OK\r\n", ("X", "a"))], ids=["header", "status"]
)
def test_no_header_can_be_injected(status: str, header: tuple[str, str]) -> None:
    handler = Handler(Trickle(b"", 1), "", SimpleNamespace(), AT_ONCE)
    handler.request_version = "HTTP/1.1"
    with pytest.raises(ValueError, match="carriage return"):
        handler.start_response(status, [header])


@given(
    st.sampled_from([200, 404, 500, 507, 599]),
    st.lists(st.tuples(st.sampled_from(["Content-Type", "X-A", "Retry-After"]), VALUES)),
    st.binary(),
)
def test_a_whole_response_is_what_pywsgi_would_send(
    status: int, headers: list[tuple[str, str]], body: bytes
) -> None:
    written = plain_response(status, headers, body)
    if written is None:
        return
    _, sent = conversation(plain(b""), 1000, status_line(status), headers, body)
    assert sorted(sent.replace(b"Date\r\n", b"").split(b"\r\n")) == sorted(written.split(b"\r\n"))


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (204, []),
        (304, []),
        (101, []),
        (200, [("Content-Length", "1")]),
        (200, [("Connection", "close")]),
        (200, [("X-A", "a\r\nX-B: b")]),
    ],
)
def test_what_is_no_plain_response_is_left_to_pywsgi(status: int, headers: list[tuple[str, str]]) -> None:
    assert plain_response(status, headers, b"") is None


class Slow:
    """A socket that takes three bytes at a time by `send`."""

    def __init__(self) -> None:
        self.sent = b""
        self._sock = self

    def send(self, data: bytes) -> int:
        self.sent += data[:3]
        return len(data[:3])

    def sendall(self, data: bytes) -> None:
        self.sent += data


@given(st.binary())
def test_a_message_is_sent_whole(message: bytes) -> None:
    sock = Slow()
    send(sock, message)
    assert sock.sent == message
