"""What comes back for a gRPC call: how it ended, and its message. Knows nothing of connections."""

from __future__ import annotations

import ctypes
import io
from typing import Any

from tfsd.worker.upstream import http2
from tfsd.worker.upstream.http2 import Metadatum, ProtocolError

MAX_MESSAGE_BYTES = 2**31 - 1  # protobuf's own limit
_new_bytes = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t)(
    ("PyBytes_FromStringAndSize", ctypes.pythonapi)
)


class Answer:
    """What came back for a call. `status` is None until it has ended."""

    status: int | None = None
    details = ""
    initial: tuple[Metadatum, ...] | None = None
    trailing: tuple[Metadatum, ...] = ()
    message: bytes | None = None

    def end(self, status: int, details: str, trailing: tuple[Metadatum, ...] = ()) -> None:
        """Note how the call ended. An answer of OK needs its message."""
        if status == http2.OK and self.message is None:
            status, details = http2.INTERNAL, "The server answered OK without a message."
        self.status, self.details, self.trailing = status, details, trailing


class Message:
    """A message that comes in pieces, written where it will stay."""

    def __init__(self, size: int) -> None:
        # Whose value is these very bytes, not a copy of them. `bytes(size)` would write zeros first.
        self._buffer = io.BytesIO(_new_bytes(None, size))
        self._view = self._buffer.getbuffer()
        self._at = 0
        self.missing = size

    def add(self, piece: Any) -> None:
        """Raises ProtocolError: more than the message's size."""
        size = len(piece)
        if size > self.missing:
            raise ProtocolError("more than one message")
        self._view[self._at : self._at + size] = piece
        self._advance(size)

    def receive(self, sock: Any, most: int) -> int:
        """Read from the socket once; returns the number of bytes, 0 at its end."""
        size: int = sock.recv_into(self._view[self._at : self._at + most])
        self._advance(size)
        return size

    def _advance(self, size: int) -> None:
        self._at += size
        self.missing -= size

    def value(self) -> bytes:
        self._view.release()
        return self._buffer.getvalue()
