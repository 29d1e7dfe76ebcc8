"""Sockets to a model server: connecting to a port or a unix socket of this machine, and sending without copying."""

from __future__ import annotations

import errno
import os
import socket as flags
import time
from typing import Any

import gevent
from gevent import socket

from tfsd.plan import ModelServer
from tfsd.worker.upstream.connection import HOST

SEND_BUFFER_BYTES = 4 << 20
FULL_PAUSE_SECONDS = 0.01


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
        _connect(sock, address, timeout)
    except BaseException:
        sock.close()
        raise
    return sock


def _connect(sock: Any, path: str, timeout: float) -> None:
    """Connect to a unix socket. Raises OSError.

    The kernel does it at once, or says that as many wait there to be accepted as may; gevent's own method would ask it
    again without a pause.
    """
    end = time.monotonic() + timeout
    while error := sock._sock.connect_ex(path):
        if error != errno.EAGAIN:
            raise OSError(error, os.strerror(error), path)
        if time.monotonic() >= end:
            raise TimeoutError(f"{path} accepts no connection")
        gevent.sleep(FULL_PAUSE_SECONDS)


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
