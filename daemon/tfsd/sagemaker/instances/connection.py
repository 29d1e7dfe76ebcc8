"""One kept HTTP/1.1 connection to a container: a request goes out in one write, its response is read as it comes.

Owns the socket and the parser (llhttp). Knows nothing of pools, of statuses and of who asks.
"""

from __future__ import annotations

import contextlib
import socket as flags
from collections.abc import Iterable

from gevent import socket
from httptools import HttpParserError, HttpResponseParser

HOST = "127.0.0.1"
CONNECT_SECONDS = 5
RECEIVE_BYTES = 64 * 1024
ONE_WRITE_BYTES = 64 * 1024  # up to here copying head and body together is cheaper than a second system call
PIECE_BYTES = 64 * 1024  # a longer chunk is handed on before its end is there


class Connection:
    """One exchange at a time. `on_…` are httptools' callbacks.

    Of the exchange that is under way: `status` and `headers` (names in lower case) once `headed`, `pieces` of the body
    that nobody has taken yet, and whether it is `complete`. `reusable` says whether there may be another one.
    """

    def __init__(self, port: int, seconds: float) -> None:
        """Raises ConnectionRefusedError when nothing answers."""
        try:
            self._socket = socket.create_connection((HOST, port), min(CONNECT_SECONDS, seconds))
        except OSError as error:
            raise ConnectionRefusedError(f"{HOST}:{port}: {error}") from error
        self._socket.setsockopt(flags.IPPROTO_TCP, flags.TCP_NODELAY, 1)
        self._parser = HttpResponseParser(self)
        self.reusable = True
        self.status = 0
        self.headers: dict[str, str] = {}
        self.headed = self.complete = self._chunked = False
        self.pieces: list[bytes] = []
        self._part: list[bytes] = []
        self._part_size = 0

    def is_silent(self) -> bool:
        """Whether it is still open, with nothing to read that nobody has asked for."""
        try:
            self._socket._sock.recv(1, flags.MSG_PEEK)  # the plain one, which never waits
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def send(self, head: bytes, body: bytes | Iterable[bytes], seconds: float) -> None:
        """Send a request and read until the head of its response is here; `seconds` is for each wait.

        An iterable body is sent as chunks. Raises OSError, TimeoutError, and what the iterable raises.
        """
        self._begin()
        self._socket.settimeout(seconds)
        self.reusable = False  # until all of the response is here
        with contextlib.suppress(
            ConnectionError
        ):  # a server may answer and close before it has read everything
            if not isinstance(body, bytes):
                self._send_chunks(head, body)
            elif len(body) <= ONE_WRITE_BYTES:
                self._socket.sendall(head + body)
            else:
                self._socket.sendall(head)
                self._socket.sendall(body)
        while not self.headed:
            self.receive()

    def receive(self) -> None:
        """Read once more. Raises TimeoutError, and ConnectionError when the response ends too early."""
        data = self._socket.recv(RECEIVE_BYTES)
        if not data:
            self._end_of_stream()
            return
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            raise ConnectionError(f"not an HTTP response: {error}") from error
        if not self.complete:
            # a server without TCP_NODELAY waits for an acknowledgement, which the kernel would hold back for 40 ms
            self._socket.setsockopt(flags.IPPROTO_TCP, flags.TCP_QUICKACK, 1)

    def close(self) -> None:
        self.reusable = False
        self._parser = None  # ends a cycle of references
        self._socket.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.headed = self.status >= 200

    def on_chunk_header(self) -> None:
        self._chunked = True

    def on_body(self, data: bytes) -> None:
        self._part.append(data)
        self._part_size += len(data)
        if not self._chunked or self._part_size >= PIECE_BYTES:
            self.on_chunk_complete()

    def on_chunk_complete(self) -> None:
        if self._part:
            self.pieces.append(self._part[0] if len(self._part) == 1 else b"".join(self._part))
            self._part, self._part_size = [], 0

    def on_message_complete(self) -> None:
        if self.headed:
            self.reusable = not self.complete and self._parser.should_keep_alive()
            self.complete = True
        else:  # 100 Continue and its like: the response is still to come
            self.headers = {}

    def _begin(self) -> None:
        self.headers, self.pieces, self._part, self._part_size = {}, [], [], 0
        self.headed = self.complete = self._chunked = False

    def _send_chunks(self, head: bytes, body: Iterable[bytes]) -> None:
        self._socket.sendall(head)
        for piece in body:
            if piece:  # an empty one would be the end
                self._socket.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        self._socket.sendall(b"0\r\n\r\n")

    def _end_of_stream(self) -> None:
        """The end ends a response that has neither a length nor chunks (RFC 9112, section 6.3)."""
        framed = "content-length" in self.headers or "transfer-encoding" in self.headers
        if not self.headed or framed:
            raise ConnectionError("the connection was closed before the end of the response")
        self.on_chunk_complete()
        self.reusable, self.complete = False, True
