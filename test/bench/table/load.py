"""A client that sends one request again and again over kept connections, and times every response.

It is one thread over epoll: what it costs is less than the cheapest server here, and it stops only when every request
is answered, so that the servers' CPU time can be divided by the responses.
"""

from __future__ import annotations

import contextlib
import dataclasses
import select
import socket
import time
from collections.abc import Iterator

RECEIVE_BYTES = 256 * 1024
PATIENCE_SECONDS = 120.0  # without any byte from any connection
WARMED_BYTES = 2_000_000  # a body up to here is sent once over each connection before anything is measured
_END_OF_HEAD = b"\r\n\r\n"


class RequestFailed(Exception):
    """A response that is not 200, or none."""


@dataclasses.dataclass(frozen=True)
class Request:
    """A POST to a port of this machine."""

    port: int
    path: str
    body: bytes
    content_type: str

    def message(self) -> bytes:
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


@dataclasses.dataclass(frozen=True)
class Load:
    """What a load of so many `seconds` got: the seconds that each response took, in no order."""

    seconds: float
    latencies: list[float]

    @property
    def rate(self) -> float:
        """Responses a second."""
        return len(self.latencies) / self.seconds


class _Connection:
    """A client; one request at a time."""

    def __init__(self, request: Request, message: memoryview) -> None:
        self.socket = socket.create_connection(("127.0.0.1", request.port))
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.message = message
        self.unsent = message[:0]
        self.received = b""
        self.began = 0.0

    def begin(self) -> None:
        self.began, self.unsent, self.received = time.perf_counter(), self.message, b""
        self.send()

    def send(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]

    def receive(self) -> bool:
        """Read once; whether the response is whole. Raises RequestFailed."""
        data = self.socket.recv(RECEIVE_BYTES)
        if not data:
            raise RequestFailed(f"The connection was closed; received: {self.received[:300]!r}")
        self.received = self.received + data if self.received else data
        return is_whole(self.received)


def is_whole(response: bytes) -> bool:
    """Whether these bytes are a whole response. Raises RequestFailed for one that is not 200."""
    head, end, body = response.partition(_END_OF_HEAD)
    if not end:
        return False
    lines = head.lower().split(b"\r\n")
    if lines[0].split(b" ")[1] != b"200":
        raise RequestFailed(response[:500].decode("utf-8", "replace"))
    for line in lines:
        if line.startswith(b"content-length:"):
            return len(body) >= int(line[15:])
    return body.endswith(b"0\r\n\r\n")  # in chunks


class Clients:
    """So many clients of one request. A context manager: connected inside."""

    def __init__(self, request: Request, count: int) -> None:
        self._request = request
        self._count = count

    def __enter__(self) -> Clients:
        message = memoryview(self._request.message())
        self._connections = [_Connection(self._request, message) for _ in range(self._count)]
        self._epoll = select.epoll()
        self._by_descriptor = {connection.socket.fileno(): connection for connection in self._connections}
        for descriptor in self._by_descriptor:
            self._epoll.register(descriptor, select.EPOLLIN)
        if len(message) <= WARMED_BYTES:
            self.load(0)
        return self

    def __exit__(self, *failed: object) -> None:
        self._epoll.close()
        for connection in self._connections:
            connection.socket.close()

    def load(self, seconds: float) -> Load:
        """Send for so long, one request from each client at least; ends with the last response.

        Raises RequestFailed.
        """
        started = time.perf_counter()
        end = started + seconds
        latencies = []
        for connection in self._connections:
            self._begin(connection)
        waiting = self._count
        while waiting:
            for connection in self._ready():
                if not connection.receive():
                    continue
                now = time.perf_counter()
                latencies.append(now - connection.began)
                if now < end:
                    self._begin(connection)
                else:
                    waiting -= 1
        return Load(time.perf_counter() - started, latencies)

    def _begin(self, connection: _Connection) -> None:
        connection.begin()
        if connection.unsent:
            self._epoll.modify(connection.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _ready(self) -> Iterator[_Connection]:
        """The connections that something has come from; what waits to be sent is sent."""
        events = self._epoll.poll(PATIENCE_SECONDS)
        if not events:
            raise RequestFailed(f"No response within {PATIENCE_SECONDS:g} s.")
        for descriptor, event in events:
            connection = self._by_descriptor[descriptor]
            if event & select.EPOLLOUT:
                connection.send()
                if not connection.unsent:
                    self._epoll.modify(descriptor, select.EPOLLIN)
            if event & ~select.EPOLLOUT:
                yield connection
