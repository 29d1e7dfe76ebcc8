"""HTTP to a container: connections that are kept, and responses whose bodies are read as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from tfsd.sagemaker.instances.connection import HOST, Connection

KEPT_CONNECTIONS = 64


class Response:
    """A container's response: `status`, and the body, which is still on the wire."""

    def __init__(self, connection: Connection, done: Callable[[Connection], None]) -> None:
        """`done` gets the connection back, once."""
        self.status = connection.status
        self._headers = connection.headers
        self._connection: Connection | None = connection
        self._done = done
        self._at_end: list[Callable[[], None]] = []
        self._body: bytes | None = None

    def header(self, name: str) -> str | None:
        """A header by its name, in any case."""
        return self._headers.get(name.lower())

    def at_end(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once, when the body has been read or given up."""
        self._at_end.append(callback)

    def chunks(self) -> Iterator[bytes]:
        """The body's pieces, each as it comes. Raises OSError when it ends early, TimeoutError when it stops."""
        connection = self._connection
        try:
            while connection is not None:
                pieces, connection.pieces = connection.pieces, []
                yield from pieces
                if connection.complete:
                    break
                connection.receive()
        finally:
            self.close()

    def read(self) -> bytes:
        """The whole body as the container sent it, as often as asked; the connection is free again."""
        if self._body is None:
            self._body = b"".join(self.chunks())
        return self._body

    def close(self) -> None:
        """Give up a body that was not read to its end; does nothing after that."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._done(connection)
        while self._at_end:
            self._at_end.pop()()


class HttpClient:
    """Requests to one container."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Connection] = []
        self._closed = False

    def request(
        self,
        method: str,
        path: str,
        seconds: float,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] = b"",
    ) -> Response:
        """Send a request; `seconds` is for each wait. An iterable body is sent as chunks.

        Raises TimeoutError for the time limit, ConnectionRefusedError when nothing was sent, else OSError; ValueError
        for a header that is more than one line.
        """
        head = _head(method, path, self._port, headers or {}, body)
        connection = self._connect(seconds)
        try:
            connection.send(head, body, seconds)
        except BaseException:
            connection.close()
            raise
        return Response(connection, self._take_back)

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _connect(self, seconds: float) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_silent():
                return connection
            connection.close()
        return Connection(self._port, seconds)

    def _take_back(self, connection: Connection) -> None:
        if connection.reusable and not self._closed and len(self._idle) < KEPT_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.close()


def _head(
    method: str, path: str, port: int, headers: Mapping[str, str], body: bytes | Iterable[bytes]
) -> bytes:
    """Request line and headers. Raises ValueError."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}:{port}", "Accept-Encoding: identity"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if not isinstance(body, bytes):
        lines.append("Transfer-Encoding: chunked")
    elif body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise ValueError("A header holds the end of a line.")
    return f"{text}\r\n\r\n".encode("latin-1")
