"""One kept-alive HTTP/1.1 connection to a model server on this machine.

Owns the socket and the parsing of answers. Knows nothing of models, pools, retries or time limits: a caller
that gives up (its time limit) closes the connection.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket as flags

from gevent import socket
from httptools import HttpParserError, HttpResponseParser

from tfsd import wsgi

HOST = "127.0.0.1"
RECEIVE_BYTES = 256 * 1024
ONE_WRITE_BYTES = 64 * 1024  # up to here copying head and body together is cheaper than a second system call


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
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> str | None:
        """The first header of that (lower-case) name."""
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == name), None)


class Connection:
    """A connection that serves one exchange at a time; `reusable` says whether it may serve another.

    The `on_…` methods are httptools' callbacks.
    """

    __slots__ = ("_body", "_complete", "_framed", "_head", "_headers", "_parser", "_socket", "reusable")

    def __init__(self, port: int, timeout: float) -> None:
        """Connect within `timeout` seconds. Raises Refused."""
        try:
            self._socket = socket.create_connection((HOST, port), timeout)
        except OSError as error:
            raise Refused(f"{HOST}:{port}: {error}") from None
        self._socket.settimeout(None)
        self._socket.setsockopt(flags.IPPROTO_TCP, flags.TCP_NODELAY, 1)
        self._parser = HttpResponseParser(self)
        self.reusable = True

    def close(self) -> None:
        self.reusable = False
        self._parser = None  # ends the cycle of references
        self._socket.close()

    def exchange(self, head: bytes, body: bytes) -> Answer:
        """Send a request and wait for its whole answer. Raises CutOff."""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._head = self._complete = self._framed = False
        with contextlib.suppress(OSError):  # a server may answer and close before it has read everything
            self._send(head, body)
        received = False
        while not self._complete:
            try:
                data = self._socket.recv(RECEIVE_BYTES)
            except OSError as error:
                raise CutOff(str(error), not received) from None
            if not data:
                self._end_of_stream(received)
                break
            received = True
            self._feed(data)
            if not self._complete:
                # A server without TCP_NODELAY holds the rest back until this much is acknowledged, which the
                # kernel would otherwise delay for 40 ms. The flag acknowledges now and is not lasting.
                self._socket.setsockopt(flags.IPPROTO_TCP, flags.TCP_QUICKACK, 1)
        chunks = self._body
        return Answer(
            self._parser.get_status_code(), self._headers, chunks[0] if len(chunks) == 1 else b"".join(chunks)
        )

    def _send(self, head: bytes, body: bytes) -> None:
        if len(body) <= ONE_WRITE_BYTES:
            wsgi.send(self._socket, head + body)
        else:
            self._socket.sendall(head)
            self._socket.sendall(body)

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
