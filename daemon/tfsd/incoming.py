"""What a WSGI server's socket receives: the beginnings of requests, and bodies that have not come whole.

Owns the way of a large body that nobody here reads: from socket to socket within the kernel (splice(2)), where it costs
half of receiving and sending it, and no memory. Such a body can be sent on once; after that its sender alone has it.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import io
import os
import socket
from typing import Any, BinaryIO

from gevent import pywsgi
from gevent.socket import wait_write

from tfsd.readable import Readable

READ_BYTES = 32 * 1024  # at a time: a request up to here has come whole, as a rule
PIPE_BYTES = 1 << 20  # room for 256 pages, full or not; by default there is room for 16
YIELDS = 3  # of the CPU, to a sender who goes on at once as a rule: to sleep and to be woken costs more
COPIED_BYTES = 256 * 1024  # at a time, where the kernel does not move them itself
_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class BodyGone(Exception):
    """A part of a request's body has been sent on, and is needed again: nothing can be answered.

    The connection is to be closed, and whoever sent the request, who has it still, sends it again.
    """


class BodyCut(BodyGone):
    """A body did not come whole: whoever sent the request waits for no answer any more."""


class Incoming(io.RawIOBase):
    """What a socket receives: the beginning of each request by `beginning`, what is left of one by `readinto`."""

    def __init__(self, sock: Any, come: Readable) -> None:
        """`come` says when something can be received."""
        self.socket = sock
        self.come = come
        self.returned = b""  # comes next, before what the socket receives
        self.dry = False  # whether nothing more is to be received
        self._at_once = sock._sock.recv  # what gevent's own method asks first, which is ready to wait

    def beginning(self) -> bytes:
        """What comes next, b"" at the end. Nothing is received before something has come. Raises OSError."""
        if data := self.returned:
            self.returned = b""
            return data
        self.come.wait()
        try:
            data = self._at_once(READ_BYTES)
        except BlockingIOError:
            data = self.socket.recv(READ_BYTES)
        return data

    def put_back(self, data: bytes) -> None:
        """Have this come next."""
        self.returned = data + self.returned

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if data := self.returned:
            size = min(len(data), len(buffer))
            buffer[:size], self.returned = data[:size], data[size:]
            return size
        if self.dry:
            return None
        received: int = self.socket.recv_into(buffer)
        return received

    def close(self) -> None:
        self.come.close()
        super().close()


class Arriving(pywsgi.Input):
    """The body of a plain request, of which the beginning has come. It is read as any other, or sent on."""

    content_length: int
    position: int  # how much has been read or sent on

    def __init__(self, rfile: BinaryIO, length: int, incoming: Incoming) -> None:
        """`rfile` reads from `incoming`, and has read nothing of the body yet."""
        super().__init__(rfile, length)
        self._incoming = incoming
        self._forgotten = False

    @property
    def begun(self) -> bytes:
        """What has come of it, as long as nothing was read or sent on."""
        return b"" if self.position else self._incoming.returned

    def send_on(self, target: Any, size: int) -> None:
        """Send `size` bytes of what comes after `begun`, which is forgotten, to another of gevent's sockets.

        Raises BodyCut when they do not come, OSError when they cannot be sent.
        """
        incoming = self._incoming
        if not self.position:
            self.position, incoming.returned = len(incoming.returned), b""
        yields = 0
        with contextlib.closing(_way()) as way:
            while size:
                try:
                    taken = way.take(incoming.socket, size)
                except BlockingIOError:
                    if yields < YIELDS:
                        yields += 1
                        os.sched_yield()
                    else:
                        yields = 0
                        incoming.come.wait()
                    continue
                except OSError:
                    taken = 0
                if not taken:
                    self.forget()
                    raise BodyCut
                yields = 0
                self.position += taken
                size -= taken
                way.give(target, taken)

    def forget(self) -> None:
        """Leave what is left where it is: the connection will be closed."""
        self._forgotten = True

    def _do_read(self, length: int | None = None, use_readline: bool = False) -> bytes:
        """What all ways of reading come to. Raises BodyCut."""
        try:
            data: bytes = super()._do_read(length, use_readline)
        except OSError:
            self.forget()
            raise BodyCut from None
        return data

    def _discard(self) -> None:
        """Read what is left off the connection, as pywsgi asks."""
        if not self._forgotten:
            super()._discard()


class Remainder:
    """What follows the beginning of a body: a piece of a message that is sent once."""

    def __init__(self, body: Arriving, start: int) -> None:
        """It follows the first `start` bytes, which have come."""
        self._body = body
        self._held = memoryview(body.begun)[start:]
        self._size = body.content_length - start

    def __len__(self) -> int:
        """In bytes."""
        return self._size

    def begin(self) -> None:
        """Begin to send it, or begin again. Raises BodyGone when some of it is with another already."""
        if self._body.position:
            self._body.forget()
            raise BodyGone
        self._unsent = self._held

    def held(self, size: int) -> memoryview:
        """What of the next `size` bytes has come already, to be sent by the caller."""
        held, self._unsent = self._unsent[:size], self._unsent[size:]
        return held

    def send(self, target: Any, size: int) -> None:
        """Send the next bytes, none of which is held. Raises what `Arriving.send_on` raises."""
        if size:
            self._body.send_on(target, size)


class _Pipe:
    """The kernel's way."""

    def __init__(self) -> None:
        """Raises OSError: too many open files."""
        self._end, self._beginning = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # there is a limit for each user
            fcntl.fcntl(self._beginning, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def take(self, source: Any, size: int) -> int:
        """Take bytes that have come to a socket, `size` at the most, and return how many; 0 at its end."""
        return os.splice(source.fileno(), self._beginning, size, flags=_FLAGS)

    def give(self, target: Any, size: int) -> None:
        """Send all that was taken."""
        sink = target.fileno()
        while size:
            try:
                size -= os.splice(self._end, sink, size, flags=_FLAGS)
            except BlockingIOError:
                wait_write(sink)

    def close(self) -> None:
        os.close(self._end)
        os.close(self._beginning)


class _Buffer:
    """The same by copying, where the kernel has no other way."""

    def __init__(self) -> None:
        self._view = memoryview(bytearray(COPIED_BYTES))

    def take(self, source: Any, size: int) -> int:
        taken: int = source._sock.recv_into(self._view[:size])
        return taken

    def give(self, target: Any, size: int) -> None:
        target.sendall(self._view[:size])

    def close(self) -> None:
        """There is nothing to close."""


def _way() -> _Pipe | _Buffer:
    with contextlib.suppress(OSError):
        if _splices():
            return _Pipe()
    return _Buffer()


@functools.cache
def _splices() -> bool:
    """Whether the kernel moves bytes between sockets; not all sandboxes have one that does."""
    before, after = socket.socketpair(), socket.socketpair()
    with contextlib.closing(_Pipe()) as pipe, before[0], before[1], after[0], after[1]:
        before[0].send(b"?")
        try:
            pipe.take(before[1], 1)
            pipe.give(after[0], 1)
        except OSError:
            return False
    return True
