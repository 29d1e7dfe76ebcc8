"""Sockets to a model server: connecting to a port or a unix socket of this machine, and sending without copying."""

from __future__ import annotations

import socket as flags
from typing import Any

from gevent import socket

from tfsd.worker.upstream.connection import HOST


def connected(address: int | str, timeout: float) -> Any:
    """A socket that is connected to a port of this machine, or to the unix socket at a path. Raises OSError."""
    if isinstance(address, int):
        sock = socket.create_connection((HOST, address), timeout)
        sock.setsockopt(flags.IPPROTO_TCP, flags.TCP_NODELAY, 1)
        return sock
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def send_parts(sock: Any, parts: list[Any]) -> None:
    """Send all of the parts, none of which is copied. Raises OSError."""
    left = [memoryview(part) for part in parts]
    while left:
        sent = sock.sendmsg(left)
        done = 0
        while done < len(left) and sent >= len(left[done]):
            sent -= len(left[done])
            done += 1
        del left[:done]
        if sent:
            left[0] = left[0][sent:]
