"""Sockets to a model server: connecting to a port or a unix socket of this machine, and sending without copying."""

from __future__ import annotations

import os
import socket as flags
from typing import Any

from gevent import socket

from tfsd.plan import ModelServer
from tfsd.worker.upstream.connection import HOST

SEND_BUFFER_BYTES = 4 << 20


def grpc_address(server: ModelServer) -> int | str:
    """Where to connect to for a model server's gRPC API just now: the path of its unix socket, else its port.

    An old model server, or a script in its place, may open no such socket, though it is told to: then there is no file.
    """
    if server.grpc_socket and (not server.grpc_port or os.path.exists(server.grpc_socket)):
        return server.grpc_socket
    return server.grpc_port


def connected(address: int | str, timeout: float) -> Any:
    """A socket that is connected to a port of this machine, or to the unix socket at a path. Raises OSError."""
    if isinstance(address, int):
        sock = socket.create_connection((HOST, address), timeout)
        sock.setsockopt(flags.IPPROTO_TCP, flags.TCP_NODELAY, 1)
        return sock
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout)
    # By default 208 kB may wait there to be read, so that a message of megabytes is sent in many pieces, after each of
    # which the sender waits for the server. Up to net.core.wmem_max the kernel gives what is asked for.
    sock.setsockopt(flags.SOL_SOCKET, flags.SO_SNDBUF, SEND_BUFFER_BYTES)
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
