"""One client's HTTP/2 connection: what arrives becomes calls, what is answered goes out as the client allows.

Owns a connection's state. One thread at a time reads (`receive`); any thread answers.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from tfsd.model_server.errors import ServingError
from tfsd.model_server.lead import leave
from tfsd.model_server.rpc import http2
from tfsd.model_server.rpc.http2 import BadConnection, CallHead, HeaderReader
from tfsd.model_server.sockets import FIRST_READ, READ_SIZE

_TOP_UP = 1 << 30  # bytes received after which the client may send as many again
_MAX_DUE = 10_000  # frames that answer PING and SETTINGS, which a client leaves unread
_WAIT_SECONDS = 1.0
_PATIENCE_SECONDS = 60.0  # with a client that reads nothing of an answer, which keeps a thread
_PIECES = 64  # DATA frames in one system call


class Call:
    """One unary call. Its fields belong to the reading thread until it is complete: then the client has sent all."""

    __slots__ = ("arrived", "body", "cancelled", "complete", "connection", "head", "stream", "window")

    def __init__(self, connection: Connection, stream: int, head: CallHead, window: int) -> None:
        self.connection = connection
        self.stream = stream
        self.head = head
        self.window = window
        self.body: list[bytes] = []
        self.arrived = time.monotonic()
        self.cancelled = self.complete = False

    def is_active(self) -> bool:
        """Whether the client still waits."""
        return not (self.cancelled or self.connection.closed or self.is_late())

    def is_late(self) -> bool:
        """Whether its time is up."""
        timeout = self.head.timeout
        return timeout is not None and time.monotonic() > self.arrived + timeout


class Connection:
    """See the module. `closed` is final: nothing is sent after it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.closed = False
        self.calls: dict[int, Call] = {}  # those that are not answered yet
        self.last_stream = 0
        self._pieces: list[bytes] = []  # of a frame that has not come whole
        self._missing = 0  # so many bytes at least until it has
        self._greeted = False
        self._headers = HeaderReader()
        self._block: tuple[int, int, bytearray] | None = (
            None  # stream, flags and bytes of an unfinished header block
        )
        self._received = 0
        self._due = deque([http2.GREETING])  # frames that ask nobody's leave
        self._sending = threading.Lock()
        self._unsent = b""  # the rest of a frame that was due; belongs to whoever is sending
        self._window_lock = threading.Lock()  # taken for each answer: a condition's methods are Python
        self._windows = threading.Condition(self._window_lock)
        self._window = self._stream_window = http2.DEFAULT_WINDOW
        self._frame_size = http2.DEFAULT_FRAME

    @property
    def has_unsent(self) -> bool:
        """Whether the client has to read on before it can be told all."""
        return bool(self._due or self._unsent)

    def receive(self) -> list[Call]:
        """Read what has arrived; returns the calls that are complete now.

        Raises BadConnection, OSError: the connection has to be closed; EOFError: the client has closed it.
        """
        complete: list[Call] = []
        size = FIRST_READ
        while True:
            try:
                data = self.sock.recv(size)
            except BlockingIOError:
                break
            if not data:
                raise EOFError
            self._pieces.append(data)
            self._missing -= len(data)
            if self._missing <= 0:
                self._parse(b"".join(self._pieces), complete)
            if len(data) < size:
                break
            size = READ_SIZE
        if self.has_unsent:
            self.flush()
        return complete

    def _parse(self, data: bytes, complete: list[Call]) -> None:
        at, size = 0, len(data)
        if not self._greeted:
            if not (data.startswith(http2.PREFACE) or http2.PREFACE.startswith(data)):
                raise BadConnection(http2.PROTOCOL_ERROR)
            if size < len(http2.PREFACE):
                self._pieces = [data]
                return
            at, self._greeted = len(http2.PREFACE), True
        head = http2.FRAME_HEAD
        self._missing = 0
        while size - at >= head.size:
            high, low, kind, flags, stream = head.unpack_from(data, at)
            length = high << 16 | low
            if length > http2.OUR_FRAME_SIZE:
                raise BadConnection(http2.FRAME_SIZE_ERROR)
            start = at + head.size
            end = start + length
            if end > size:
                self._missing = end - size
                break
            self._take(kind, flags, stream & 0x7FFFFFFF, data[start:end], complete)
            at = end
        self._pieces = [data[at:]] if at < size else []

    def _take(self, kind: int, flags: int, stream: int, payload: bytes, complete: list[Call]) -> None:
        if self._block is not None and (kind != http2.CONTINUATION or stream != self._block[0]):
            raise BadConnection(http2.PROTOCOL_ERROR)
        if kind == http2.DATA:
            self._data(flags, stream, payload, complete)
        elif kind == http2.HEADERS:
            if flags & http2.PADDED:
                payload = _unpadded(payload)
            if flags & http2.HAS_PRIORITY:
                payload = payload[5:]
            self._header_block(stream, flags, payload, complete)
        elif kind == http2.CONTINUATION:
            if self._block is None:
                raise BadConnection(http2.PROTOCOL_ERROR)
            _, first_flags, block = self._block
            ended = flags & http2.END_HEADERS
            block += payload
            self._header_block(stream, first_flags | ended, block, complete)
        elif kind == http2.WINDOW_UPDATE:
            self._more_window(stream, payload)
        elif kind == http2.PING:
            if len(payload) != 8:
                raise BadConnection(http2.FRAME_SIZE_ERROR)
            if not flags & http2.ACK:
                self._later(http2.frame(http2.PING, http2.ACK, 0, payload))
        elif kind == http2.SETTINGS:
            self._settings(flags, payload)
        elif kind == http2.RST_STREAM:
            self._cancel(stream)
        elif kind == http2.PUSH:
            raise BadConnection(http2.PROTOCOL_ERROR)

    def _header_block(self, stream: int, flags: int, block: bytes | bytearray, complete: list[Call]) -> None:
        if len(block) > http2.MAX_HEADER_BLOCK:
            raise BadConnection(http2.ENHANCE_YOUR_CALM)
        if not flags & http2.END_HEADERS:
            self._block = (stream, flags, bytearray(block))
            return
        self._block = None
        head = self._headers.read(bytes(block))
        call = self.calls.get(stream)
        if call is None:
            if stream <= self.last_stream or not stream & 1:
                raise BadConnection(http2.PROTOCOL_ERROR)
            self.last_stream = stream
            call = self.calls[stream] = Call(self, stream, head, self._stream_window)
        elif call.complete:
            raise BadConnection(http2.STREAM_CLOSED)
        if flags & http2.END_STREAM:
            call.complete = True
            complete.append(call)

    def _data(self, flags: int, stream: int, payload: bytes, complete: list[Call]) -> None:
        self._received += len(payload)
        if self._received >= _TOP_UP:
            self._later(http2.frame(http2.WINDOW_UPDATE, 0, 0, self._received.to_bytes(4, "big")))
            self._received = 0
        call = self.calls.get(stream)
        if call is None:
            if stream > self.last_stream:
                raise BadConnection(http2.PROTOCOL_ERROR)
            return  # of a call that was refused or given up
        if call.complete:
            raise BadConnection(http2.STREAM_CLOSED)
        call.body.append(_unpadded(payload) if flags & http2.PADDED else payload)
        if flags & http2.END_STREAM:
            call.complete = True
            complete.append(call)

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & http2.ACK:
            return
        if len(payload) % 6:
            raise BadConnection(http2.FRAME_SIZE_ERROR)
        with self._windows:
            for at in range(0, len(payload), 6):
                name = int.from_bytes(payload[at : at + 2], "big")
                value = int.from_bytes(payload[at + 2 : at + 6], "big")
                if name == http2.INITIAL_WINDOW_SIZE:
                    if value > http2.MAX_WINDOW:
                        raise BadConnection(http2.FLOW_CONTROL_ERROR)
                    for call in list(self.calls.values()):
                        call.window += value - self._stream_window
                    self._stream_window = value
                elif name == http2.MAX_FRAME_SIZE:
                    self._frame_size = max(http2.DEFAULT_FRAME, min(value, http2.OUR_FRAME_SIZE))
            self._windows.notify_all()
        self._later(http2.frame(http2.SETTINGS, http2.ACK, 0))

    def _more_window(self, stream: int, payload: bytes) -> None:
        more = int.from_bytes(payload, "big") & 0x7FFFFFFF
        if len(payload) != 4 or not more:
            raise BadConnection(http2.PROTOCOL_ERROR)
        with self._windows:
            if not stream:
                self._window += more
                if self._window > http2.MAX_WINDOW:
                    raise BadConnection(http2.FLOW_CONTROL_ERROR)
            elif (call := self.calls.get(stream)) is not None:
                call.window += more
            self._windows.notify_all()

    def _cancel(self, stream: int) -> None:
        call = self.calls.pop(stream, None)
        if call is not None:
            call.cancelled = True
            with self._windows:
                self._windows.notify_all()

    def _later(self, frames: bytes) -> None:
        self._due.append(frames)
        if len(self._due) > _MAX_DUE:
            raise BadConnection(http2.ENHANCE_YOUR_CALM)

    def go_away(self, code: int = http2.NO_ERROR, last: int | None = None) -> None:
        """Tell the client to open no more calls."""
        last = self.last_stream if last is None else last
        payload = last.to_bytes(4, "big") + code.to_bytes(4, "big")
        self._due.append(http2.frame(http2.GOAWAY, 0, 0, payload))
        self.flush()

    def flush(self) -> None:
        """Send the frames that are due as far as the client reads; whoever is sending already does it itself."""
        while self.has_unsent and self._sending.acquire(blocking=False):
            try:
                if not self._flush_now():
                    return
            finally:
                self._sending.release()

    def _flush_now(self) -> bool:
        """Whether all is sent. `_sending` is held."""
        try:
            while unsent := self._unsent or self._next_due():
                self._unsent = unsent
                self._unsent = unsent[self.sock.send(unsent) :]
        except BlockingIOError:
            return False
        except OSError:
            self.closed = True
            return False
        return True

    def _next_due(self) -> bytes:
        return self._due.popleft() if self._due else b""

    def answer(self, call: Call, response: bytes) -> None:
        """Send a message and a status of OK; waits while the client does not read, up to `_PATIENCE_SECONDS`."""
        size = len(response) + http2.MESSAGE_HEAD
        with self._window_lock:
            fits = size <= self._frame_size and size <= self._window and size <= call.window
            if fits:
                self._window -= size
        if fits:
            self._finish(call, [http2.response(call.stream, response)])
            return
        self._send([http2.response_head(call.stream)])
        body = memoryview(http2.message_head(len(response)) + response)
        while body:
            room = self._wait_for_window(call, len(body))
            if not room:
                return
            part, body = body[:room], body[room:]
            self._send(self._frames(call.stream, part))
        self._finish(call, [http2.response_end(call.stream)])

    def fail(self, call: Call, error: ServingError) -> None:
        """Send a status that is not OK."""
        self._finish(call, [http2.failure(call.stream, error)])

    def _finish(self, call: Call, parts: Sequence[Any]) -> None:
        if self.calls.pop(call.stream, None) is not None:  # else the client has given up
            self._send(parts)

    def _wait_for_window(self, call: Call, wanted: int) -> int:
        """How many bytes may be sent now, taken off the windows; 0 when there is nobody to send them to."""
        read = time.monotonic()
        with self._windows:
            while not (call.cancelled or self.closed):
                room = min(wanted, self._window, call.window, _PIECES * self._frame_size)
                if room > 0:
                    self._window -= room
                    call.window -= room
                    return room
                leave()
                if self._windows.wait(_WAIT_SECONDS):
                    read = time.monotonic()
                elif time.monotonic() - read > _PATIENCE_SECONDS:
                    self.give_up()
                    break
        return 0

    def _frames(self, stream: int, part: memoryview) -> list[Any]:
        frames: list[Any] = []
        for at in range(0, len(part), self._frame_size):
            piece = part[at : at + self._frame_size]
            frames += [len(piece).to_bytes(3, "big") + bytes(2) + stream.to_bytes(4, "big"), piece]
        return frames

    def _send(self, parts: Sequence[Any]) -> None:
        """Send all parts, waiting for the client to read; what is due goes first."""
        with self._sending:
            if self.has_unsent:
                due = [self._unsent]
                while frame := self._next_due():
                    due.append(frame)
                self._unsent = b""
                parts = [b"".join(due), *parts]
            try:
                self._send_all(parts)
            except OSError:
                self.closed = True
        if self._due:
            self.flush()

    def _send_all(self, parts: Sequence[Any]) -> None:
        try:
            sent = self.sock.send(parts[0]) if len(parts) == 1 else self.sock.sendmsg(parts)
        except BlockingIOError:
            sent = 0
        if sent == sum(map(len, parts)):
            return
        leave()
        rest = memoryview(b"".join(parts))[sent:]
        writable = select.poll()
        writable.register(self.sock, select.POLLOUT)
        read = time.monotonic()
        while rest and not self.closed:
            if writable.poll(_WAIT_SECONDS * 1000):
                rest = rest[self.sock.send(rest) :]
                read = time.monotonic()
            elif time.monotonic() - read > _PATIENCE_SECONDS:
                self.give_up()
                raise TimeoutError

    def give_up(self) -> None:
        """End the connection: the thread that reads sees that, and closes it."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket; calls in flight are given up."""
        self.closed = True
        for call in list(self.calls.values()):
            call.cancelled = True
        with self._windows:
            self._windows.notify_all()
        self.give_up()
        with (
            self._sending
        ):  # whoever sends fails now; its descriptor must not be another connection's meanwhile
            self.sock.close()


def _unpadded(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise BadConnection(http2.PROTOCOL_ERROR)
    return payload[1 : len(payload) - payload[0]]
