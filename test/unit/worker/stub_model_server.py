"""A model server that answers every prediction with a fixed document, and misbehaves when it is told to.

Run as a program it serves until it is killed, for measurements: `python stub_model_server.py PORT`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable
from typing import Any

from gevent import server, socket

PREDICTIONS = b'{\n    "predictions": [3.5, 4.0, 5.5\n    ]\n}'


@dataclasses.dataclass
class Request:
    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.line.split()[1]

    def json(self) -> Any:
        return json.loads(self.body)


def answer(body: bytes = PREDICTIONS, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


Behaviour = Callable[["StubModelServer", Any, Request], bytes | None]
"""Returns the bytes to send, or None to close the connection (after sending what it likes by itself)."""


class StubModelServer:
    """Listens on 127.0.0.1; `behaviours` are used up one a request, then `usual` is."""

    def __init__(self, port: int = 0, usual: bytes | None = None) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.behaviours: list[Behaviour] = []
        self.usual = usual or answer()
        self._open: set[Any] = set()
        self.port = port
        self._server: Any = None
        self.start()

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = server.StreamServer(("127.0.0.1", self.port), self._serve)
        self._server.start()
        self.port = self._server.server_port

    def die(self) -> None:
        """End as a killed process does: nothing listens any more and every connection is closed."""
        self._server.close()
        for connection in list(self._open):
            connection.close_now()

    def drop_connections(self) -> None:
        """Close every connection, as a server does with idle ones."""
        for connection in list(self._open):
            connection.close_now()

    def _serve(self, sock: Any, _address: Any) -> None:
        self.connections += 1
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(sock)
        self._open.add(connection)
        try:
            while request := connection.read():
                self.requests.append(request)
                behaviour = self.behaviours.pop(0) if self.behaviours else None
                reply = behaviour(self, sock, request) if behaviour else self.usual
                if reply is None:
                    return
                sock.sendall(reply)
        except OSError:
            pass
        finally:
            self._open.discard(connection)
            connection.close_now()


class _Connection:
    def __init__(self, sock: Any) -> None:
        self._socket = sock
        self._file = sock.makefile("rb")

    def read(self) -> Request | None:
        line = self._file.readline()
        if not line:
            return None
        headers = {}
        while (header := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = header.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = self._file.read(int(headers.get("content-length", 0)))
        return Request(line.decode().strip(), headers, body)

    def close_now(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


if __name__ == "__main__":
    stub = StubModelServer(int(sys.argv[1]))
    stub._server.serve_forever()
