"""HTTP connections over gevent's sockets, to ports on this machine and to unix sockets.

Owns how control reaches the other processes' HTTP interfaces. It keeps no connection open and never retries.
"""

from __future__ import annotations

import http.client
from pathlib import Path

import gevent.socket


class LocalConnection(http.client.HTTPConnection):
    """A connection to a port on 127.0.0.1. `timeout` is in seconds, for each wait on the socket."""

    def __init__(self, port: int, timeout: float) -> None:
        super().__init__("127.0.0.1", port, timeout=timeout)

    def connect(self) -> None:
        self.sock = gevent.socket.socket(gevent.socket.AF_INET, gevent.socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect((self.host, self.port))


class UnixConnection(http.client.HTTPConnection):
    """A connection to the unix socket at `path`. `timeout` is in seconds, for each wait on the socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = gevent.socket.socket(gevent.socket.AF_UNIX, gevent.socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def fetch(connection: http.client.HTTPConnection, path: str) -> tuple[int, bytes]:
    """GET `path` on a new connection, which is closed afterwards; returns the status and the body.

    Raises OSError or http.client.HTTPException when there is no complete answer.
    """
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
