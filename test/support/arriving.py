"""A body that has not come whole, as a worker meets it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import gevent
from gevent import socket

from tfsd.incoming import READ_BYTES, Arriving, Incoming
from tfsd.readable import Readable


@contextlib.contextmanager
def arriving(body: bytes, begun: int, length: int | None = None) -> Iterator[Arriving]:
    """A body whose first `begun` bytes have been received with the request's head; the rest is sent meanwhile."""
    theirs, ours = socket.socketpair()

    def send() -> None:
        with contextlib.suppress(ConnectionError), theirs:
            theirs.sendall(body[begun:])

    with ours:
        stream = Incoming(ours, Readable(ours))
        stream.put_back(body[:begun])
        rfile: Any = io.BufferedReader(stream, READ_BYTES)
        sender = gevent.spawn(send)
        try:
            yield Arriving(rfile, len(body) if length is None else length, stream)
        finally:
            stream.close()
    sender.join()
