"""HTTP/1.x messages: reading requests from a byte stream with libevent's leniency, rendering responses.

Owns the grammar and which headers an answer carries. Never touches a socket and knows no route.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

from tfsd.model_server.rest.http_uri import split_target
from tfsd.model_server.rest.remembered import MAX_LENGTH, remembered

#: The most that a request line and its headers may take with the empty line after them, in bytes; a line of a body in
#: chunks may take as much.
MAX_HEAD = 1 << 20
_METHODS = frozenset(("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"))
_BODY_METHODS = frozenset(("POST", "PUT", "PATCH"))
_VERSION = re.compile(r"HTTP/([0-9]+)\.([0-9]+)")
_CONTENT_LENGTH = re.compile(r"[ \t]*\+?([0-9]{1,18})")
_CHUNK_SIZE = re.compile(rb"[ \t]*(?:0[xX])?([0-9a-fA-F]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_PAGE = "<HTML><HEAD>\n<TITLE>{0} {1}</TITLE>\n</HEAD><BODY>\n<H1>{1}</H1>\n</BODY></HTML>\n"
_PHRASES = {417: "Expectation Failed", 499: "Client Closed Request"}


#: Those of a `Request`, up to its body.
Attributes = tuple[str, str, str, int, dict[str, str], bool]


@dataclass(slots=True)
class Request:
    """One request, complete.

    Attributes:
        path: the target's path; `uri` is the path with query and fragment. Nothing is percent-decoded.
        headers: name in lower case -> value of its first occurrence; not to be changed.
        keep_alive: whether the connection outlives the answer.
    """

    method: str
    path: str
    uri: str
    minor: int
    headers: dict[str, str]
    keep_alive: bool
    body: bytes | bytearray = b""


@dataclass(slots=True)
class Response:
    """An answer. `headers` are added to those that every answer has."""

    status: int
    content_type: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    close: bool = False


class BadRequest(Exception):
    """A request that is answered without its route being asked; the connection is closed after it.

    Attributes:
        response: the HTML page that says so.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.response = html_error(status)


def phrase(status: int) -> str:
    """The reason phrase of a status."""
    if status in _PHRASES:
        return _PHRASES[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def html_error(status: int) -> Response:
    """libevent's error page; it closes the connection."""
    body = _PAGE.format(status, phrase(status)).encode()
    return Response(status, "text/html", body, close=True)


def render_head(request: Request | None, response: Response, keep_alive: bool) -> bytes:
    """Status line and headers of an answer; `request` is None when it could not be read.

    An answer to HEAD has the body but no Content-Length, as the real server's, and therefore ends the
    connection; an HTTP/1.0 answer has neither Date nor, unless it is kept alive, Content-Length.

    Args:
        keep_alive: whether the connection `stays_open`.
    """
    minor = min(request.minor, 1) if request else 1
    second = int(time.time()) if minor else None
    start = _head_start(minor, second, response.status, response.content_type, response.headers)
    if not (minor or keep_alive) or (request and request.method == "HEAD"):
        return start + _HEAD_ENDS[minor, keep_alive]
    return b"%bContent-Length: %d\r\n%b" % (start, len(response.body), _HEAD_ENDS[minor, keep_alive])


#: By the minor version, and whether the connection is kept.
_HEAD_ENDS = {
    (0, False): b"Connection: close\r\n\r\n",
    (0, True): b"Connection: keep-alive\r\n\r\n",
    (1, False): b"Connection: close\r\n\r\n",
    (1, True): b"\r\n",
}


@lru_cache
def _head_start(
    minor: int, second: int | None, status: int, content_type: str, headers: tuple[tuple[str, str], ...]
) -> bytes:
    lines = [f"HTTP/1.{minor} {status} {phrase(status)}", f"Content-Type: {content_type}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if second is not None:
        lines.append(f"Date: {formatdate(second, usegmt=True)}")
    return "\r\n".join([*lines, ""]).encode("latin-1")


def stays_open(request: Request | None, response: Response) -> bool:
    """Whether the connection serves another request after this answer."""
    return bool(request and request.keep_alive and request.method != "HEAD" and not response.close)


@dataclass(slots=True)
class RequestReader:
    """Reads the requests of one connection, whatever the pieces in which the bytes arrive.

    Attributes:
        continues: set when the client waits for `100 Continue`; whoever sends that clears it.
    """

    continues: bool = False
    _pending: bytearray = field(default_factory=bytearray)
    _request: Request | None = None
    _body: bytes | bytearray | None = None
    _missing: int = 0
    _chunked: bool = False
    #: Of the pending bytes, so many have no end of a head that begins in them.
    _searched: int = 0
    #: Whether what comes next is the trailers of a body in chunks.
    _trailers: bool = False
    #: The last short head, the size of the request that it began, and that one's attributes.
    _last: tuple[bytes, int, Attributes] = (b"", -1, ("", "", "", 0, {}, False))

    @property
    def idle(self) -> bool:
        """Whether no part of a request has been read."""
        return not self._pending and self._request is None

    def feed(self, data: bytes | bytearray) -> None:
        """Bytes from the connection."""
        head, size, attributes = self._last
        if len(data) == size and data.startswith(head) and self.idle:  # as clients do again and again
            self._request, self._body = Request(*attributes), data[len(head) :]
            return
        if self._missing and not self._chunked:
            assert isinstance(self._body, bytearray)
            taken = min(len(data), self._missing)
            self._body += data if taken == len(data) else data[:taken]
            self._missing -= taken
            data = data[taken:]
        if data:
            self._pending += data

    def next(self) -> Request | None:
        """The next request, or None until more bytes come. Raises BadRequest."""
        if self._request is None and not (self._pending and self._read_head()):
            return None
        if self._chunked and not self._read_chunks():
            return None
        if self._missing:
            return None
        request = self._request
        assert request is not None
        request.body = self._body or b""
        self._request, self._body, self.continues = None, None, False
        if request.method not in _METHODS:
            raise BadRequest(501)
        return request

    def _read_head(self) -> bool:
        pending = self._pending
        while pending.startswith(b"\r\n"):  # some clients end a body with a line break that is not counted
            del pending[:2]
        end = pending.find(b"\n\r\n", self._searched)
        after = end + 3
        if end < 0 or pending.find(b"\n\n", self._searched, end) >= 0:
            match = _HEAD_END.search(pending, self._searched)
            if match is None:
                if len(pending) > MAX_HEAD:
                    raise BadRequest(400)
                self._searched = max(0, len(pending) - 3)
                return False
            end, after = match.span()
        self._searched = 0
        if after > MAX_HEAD:
            raise BadRequest(400)
        attributes, framing = parse_head(pending[:end].decode("latin-1"))
        self._request = Request(*attributes)
        self._chunked, self._missing, waits = framing
        if after <= MAX_LENGTH and not (self._chunked or waits):
            self._last = bytes(pending[:after]), after + framing.length, attributes
        del pending[:after]
        if self._chunked or self._missing:
            self.continues = waits and not pending
            self._body = pending[: self._missing]
            del pending[: self._missing]
            self._missing -= len(self._body)
        return True

    def _read_chunks(self) -> bool:
        """Move the chunks that are complete to the body; True after the last one and its trailers."""
        assert isinstance(self._body, bytearray)
        at = 0
        try:
            while True:
                end = self._pending.find(b"\n", at)
                if end < 0:
                    if len(self._pending) - at > MAX_HEAD:
                        raise BadRequest(400)
                    return False
                if self._trailers:
                    self._trailers = self._chunked = bool(self._pending[at:end].strip())
                    at = end + 1
                    if not self._chunked:
                        return True
                    continue
                if end <= at + 1 and not self._pending[at:end].strip():
                    at = end + 1  # the line break after a chunk's data
                    continue
                size_line = _CHUNK_SIZE.fullmatch(self._pending, at, end + 1)
                if size_line is None:
                    raise BadRequest(400)
                size = int(size_line[1], 16)
                if size == 0:
                    self._trailers = True
                    at = end + 1
                    continue
                if len(self._pending) < end + 1 + size:
                    return False
                self._body += memoryview(self._pending)[end + 1 : end + 1 + size]
                at = end + 1 + size
        finally:
            del self._pending[:at]


def _framing(method: str, minor: int, headers: dict[str, str]) -> Framing:
    """Raises BadRequest: the length is wrong, or what the client expects is nothing that we do."""
    chunked = headers.get("transfer-encoding", "").lower() == "chunked"
    length = 0 if chunked else _body_length(method, headers)
    expected = headers.get("expect") if minor >= 1 and (chunked or length) else None
    if expected is not None and expected.lower() != "100-continue":
        raise BadRequest(417)
    return Framing(chunked, length, expected is not None)


def _body_length(method: str, headers: dict[str, str]) -> int:
    """The Content-Length. Raises BadRequest if it is none, or is missing where libevent wants it."""
    length = headers.get("content-length")
    if length is None:
        connection = headers.get("connection")
        if method in _BODY_METHODS and connection is not None and connection.lower() != "close":
            raise BadRequest(400)
        return 0
    match = _CONTENT_LENGTH.fullmatch(length)
    if match is None:
        if method in _BODY_METHODS:
            raise BadRequest(400)
        return 0
    return int(match[1])


class Framing(NamedTuple):
    """How a request's body comes: in chunks, or so many bytes, and whether the client waits for `100 Continue`."""

    chunked: bool
    length: int
    waits: bool


@remembered
def parse_head(head: str) -> tuple[Attributes, Framing]:
    """A request line and headers (without the empty line). Raises BadRequest: 400 or 417."""
    lines = head.split("\n")
    words = lines[0].rstrip("\r").rstrip(" ").split(" ")
    method, target = words[0], " ".join(words[1:-1])
    version = _VERSION.fullmatch(words[-1])
    if len(words) < 3 or version is None or int(version[1]) > 1:
        raise BadRequest(400)
    headers: dict[str, str] = {}
    name = ""
    for line in lines[1:]:
        line = line.rstrip("\r")
        if line[:1] in (" ", "\t") and name:  # a continued line
            headers[name] += " " + line.strip(" \t")
            continue
        key, colon, value = line.partition(":")
        if not colon:
            raise BadRequest(400)
        name = key.lower()
        headers.setdefault(name, value.strip(" \t"))
    parts = split_target(target) if method in _METHODS else ("", "")  # an unknown method is said first
    if parts is None:
        raise BadRequest(400)
    minor = int(version[2]) if int(version[1]) == 1 else 0
    connection = headers.get("connection", "").lower()
    keep_alive = connection != "close" if minor >= 1 else connection == "keep-alive"
    return (method, *parts, minor, headers, keep_alive), _framing(method, minor, headers)
