"""HTTP over a bare socket, for requests that no well-behaved client sends."""

from __future__ import annotations

import http.client
import socket


class RawConnection:
    """One connection; `send` what you like, then `answer`."""

    def __init__(self, port: int, timeout: float = 30):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)

    def __enter__(self) -> RawConnection:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self, size: int) -> bytes:
        """That many bytes, less at the end of the stream."""
        data = b""
        while len(data) < size and (more := self._socket.recv(size - len(data))):
            data += more
        return data

    def answer(self) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body of the next answer."""
        response = http.client.HTTPResponse(self._socket)
        response.begin()
        return response.status, response.headers, response.read()


def exchange(port: int, data: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Send bytes on a connection of its own; the answer."""
    with RawConnection(port) as connection:
        connection.send(data)
        return connection.answer()
