"""One kept-alive HTTP/1.1 connection to a model server on this machine.

Owns the socket and the parsing of answers. Knows nothing of models, pools, retries or time limits: a caller
that gives up (its time limit) closes the connection.
"""

from __future__ import annotations

import dataclasses
import re
import socket as flags
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from gevent import socket
from httptools import HttpParserError, HttpResponseParser

from tfsd import wsgi
from tfsd.readable import Readable

HOST = "127.0.0.1"
FIRST_BYTES = 64 * 1024  # received at first: for more than 128 kB malloc asks the kernel, each time
RECEIVE_BYTES = 256 * 1024  # of what follows, at a time
ONE_WRITE_BYTES = 64 * 1024  # up to here copying head and body together is cheaper than a second system call
REMEMBERED = 256
REMEMBERED_BYTES = 2048  # of an answer's head
KEPT = {b"keep-alive"}  # what a server may say of a connection that goes on
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2}) [^\r\n]*")
_FIELD = re.compile(rb"([A-Za-z0-9-]+): ?([^\r\n]*)")

Headers = Sequence[tuple[bytes, bytes]]


class Refused(Exception):
    """No connection was made: nothing listens on the port."""


class CutOff(Exception):
    """The connection ended before its answer did; `untouched` says that no byte of an answer had come."""

    def __init__(self, text: str, untouched: bool) -> None:
        super().__init__(text)
        self.untouched = untouched


@dataclasses.dataclass(slots=True)
class Answer:
    """What a model server answered: HTTP status, headers as sent, and the whole body."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: bytes) -> str | None:
        """The first header of that (lower-case) name."""
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == name), None)


class Connection:
    """A connection that serves one exchange at a time; `reusable` says whether it may serve another.

    The `on_…` methods are httptools' callbacks.
    """

    __slots__ = (
        *("_at_once", "_body", "_complete", "_framed", "_head", "_headers"),
        *("_parser", "_readable", "_socket"),
        "reusable",
    )

    def __init__(self, port: int, timeout: float) -> None:
        """Connect within `timeout` seconds. Raises Refused."""
        try:
            self._socket = socket.create_connection((HOST, port), timeout)
        except OSError as error:
            raise Refused(f"{HOST}:{port}: {error}") from None
        self._socket.settimeout(None)
        self._socket.setsockopt(flags.IPPROTO_TCP, flags.TCP_NODELAY, 1)
        self._at_once = self._socket._sock.recv  # what gevent's own method asks first, which is ready to wait
        self._readable = Readable(self._socket)
        self._parser: Any = None
        self.reusable = True

    def close(self) -> None:
        self.reusable = False
        self._parser = None  # ends the cycle of references
        self._readable.close()
        self._socket.close()

    def exchange(self, head: bytes, body: bytes) -> Answer:
        """Send a request and wait for its whole answer. Raises CutOff."""
        try:
            if len(body) <= ONE_WRITE_BYTES:
                wsgi.send(self._socket, head + body)
            else:
                self._socket.sendall(head)
                self._socket.sendall(body)
        except OSError:
            pass  # a server may answer and close before it has read everything
        self._readable.wait()
        try:
            data = self._at_once(FIRST_BYTES)
        except OSError:  # nothing after all, or what `_receive` tells of
            data = self._receive(False, FIRST_BYTES)
        start, end, rest = data.partition(b"\r\n\r\n")
        plain = _plain_head(start) if end and len(start) <= REMEMBERED_BYTES else None
        if plain is not None:
            status, headers, length = plain
            if length == len(rest):
                return Answer(status, headers, rest)
        return self._parsed(data)

    def _parsed(self, data: bytes) -> Answer:
        """The answer that begins with `data`, whatever HTTP allows it to be. Raises CutOff."""
        parser = self._parser = HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._head = self._complete = self._framed = False
        received = False
        while data:
            received = True
            self._feed(data)
            if self._complete:
                break
            # A server without TCP_NODELAY holds the rest back until this much is acknowledged, which the
            # kernel would otherwise delay for 40 ms. The flag acknowledges now and is not lasting.
            self._socket.setsockopt(flags.IPPROTO_TCP, flags.TCP_QUICKACK, 1)
            data = self._receive(received)
        else:
            self._end_of_stream(received)
        self._parser = None
        chunks, self._body = self._body, []  # a connection that is kept keeps nothing of it
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return Answer(parser.get_status_code(), self._headers, body)

    def _receive(self, received: bool, most: int = RECEIVE_BYTES) -> bytes:
        """What has come, b"" at the end of the stream; `received` says whether anything had come before."""
        try:
            data: bytes = self._socket.recv(most)
        except OSError as error:
            raise CutOff(str(error), not received) from None
        return data

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            raise CutOff(f"not an HTTP response: {error}", False) from None

    def _end_of_stream(self, received: bool) -> None:
        """The end ends an answer that has neither a length nor chunks (RFC 9112, section 6.3)."""
        self.reusable = False
        if not self._head or self._framed:
            raise CutOff("the connection was closed", not received)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def on_headers_complete(self) -> None:
        self._head = True

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        if 100 <= self._parser.get_status_code() < 200:
            self._headers, self._head, self._framed = [], False, False
        elif self._complete:  # more than was asked for
            self.reusable = False
        else:
            self._complete = True
            self.reusable = self._parser.should_keep_alive()


@lru_cache(REMEMBERED)
def _plain_head(head: bytes) -> tuple[int, Headers, int] | None:
    """Status, headers and length of the body of an answer with that head, after which its connection may serve another;
    None for one that httptools is to read. A model server repeats it all second long."""
    line, *lines = head.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(line)
    fields = [_FIELD.fullmatch(line) for line in lines]
    if status is None or None in fields or status[1] in (b"204", b"304"):
        return None
    headers = tuple((field[1], field[2].strip()) for field in fields if field is not None)
    lengths = [value for name, value in headers if name.lower() == b"content-length"]
    if len(lengths) != 1 or not lengths[0].isdigit():
        return None
    connections = {value.lower() for name, value in headers if name.lower() == b"connection"}
    if not connections <= KEPT or any(name.lower() == b"transfer-encoding" for name, _ in headers):
        return None
    return int(status[1]), headers, int(lengths[0])
