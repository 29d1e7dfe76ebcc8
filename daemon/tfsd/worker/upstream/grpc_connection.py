"""One HTTP/2 connection to a model server's gRPC port, with one unary call at a time.

Owns the socket, the frames of both directions and the flow control. Knows nothing of methods, retries or time limits:
a caller that gives up (its time limit) closes the connection, which cancels the call at the server. The greenlet that
calls reads the answer itself; what a server sends while nobody calls (PING, GOAWAY) is read by the next call.

A small call is one write, one wait and one read: nothing is read before there is something, since a socket that has
nothing yet costs an exception.
"""

from __future__ import annotations

import contextlib
from typing import Any

from tfsd.incoming import Remainder
from tfsd.readable import Readable
from tfsd.worker.upstream import http2
from tfsd.worker.upstream.backend import Body, Piece
from tfsd.worker.upstream.connection import HOST, CutOff, Refused
from tfsd.worker.upstream.grpc_answer import MAX_MESSAGE_BYTES, Answer, Message
from tfsd.worker.upstream.http2 import NO_FIELDS, Fields, ProtocolError
from tfsd.worker.upstream.sockets import connected, send_parts

RECEIVE_BYTES = 32 * 1024  # at a time, of what is not known to be the rest of a message
ONE_WRITE_BYTES = 64 * 1024  # up to here copying is cheaper than gathering
DIRECT_BYTES = 16 * 1024  # what is missing of a frame from here on is received into the message itself
PIECES = 64  # DATA frames in one system call
TOP_UP_BYTES = 1 << 30  # received, after which the server may send as many again
LAST_STREAM = 2**31 - 1
_Headers = tuple[bytes, bytes, Fields]  # the frame up to its stream, what comes after that, what it says
_NONE_YET: _Headers = (b"never", b"", NO_FIELDS)  # as no frame begins
_NOT_ASKED = Answer()
_unpack, _pack_message = http2.FRAME_HEAD.unpack_from, http2.MESSAGE_FRAME_HEAD.pack


class GrpcConnection:
    """See the module. `reusable` says whether it may serve another call."""

    def __init__(self, sock: Any, readable: Readable | None = None) -> None:
        """`sock` is connected, and waits in gevent's way; with `readable` an answer is waited for before it is read."""
        self._socket = sock
        # what gevent's own methods ask first; they take as much again to be ready for what has to wait
        self._at_once = sock if readable is None else sock._sock
        self._readable = readable
        self.reusable = True
        self._due = http2.GREETING  # goes out with the next frames
        self._stream = -1
        self._buffer = b""  # the beginning of a frame
        self._block: tuple[int, bytes] | None = None  # flags and bytes of an unfinished header block
        self._first = self._last = _NONE_YET  # the last answer's headers, before its message and after it
        self._window = self._stream_window = http2.DEFAULT_WINDOW
        self._first_window = http2.DEFAULT_WINDOW  # a stream's, as the server has set it
        self._frame_size = http2.DEFAULT_FRAME
        self._received = self._received_of_stream = 0

    @classmethod
    def connect(cls, address: int | str, timeout: float) -> GrpcConnection:
        """Connect to a port of this machine, or to a unix socket's path, within `timeout` seconds. Raises Refused."""
        try:
            sock = connected(address, timeout)
        except OSError as error:
            raise Refused(f"{HOST}:{address}: {error}" if isinstance(address, int) else str(error)) from None
        sock.settimeout(None)
        return cls(sock, Readable(sock))

    def close(self) -> None:
        self.reusable = False
        if self._readable is not None:
            self._readable.close()
            self._readable = None
        self._socket.close()

    def exchange(self, head: bytes, body: Body) -> Answer:
        """Send a call's header block and message, wait for the whole answer. Raises CutOff."""
        self._stream += 2
        if self._stream + 2 > LAST_STREAM:
            self.reusable = False
        answer = self._answer = Answer()
        self._begun = False
        self._message: Message | None = None
        self._message_head = b""
        self._stream_window = self._first_window
        self._received_of_stream = 0
        try:
            try:  # noqa: SIM105  contextlib.suppress is two calls more for each request
                self._send(head, body)
            except OSError:
                pass  # a server may answer and close before it has read everything
            if answer.status is None:
                self._feed(self._read_when_come())
            while answer.status is None:
                self._send_due()
                self._feed(self._read(RECEIVE_BYTES))
        except ProtocolError as error:
            raise CutOff(f"not what HTTP/2 allows: {error}", False) from None
        self._answer, self._message = _NOT_ASKED, None  # a connection that is kept keeps nothing of it
        return answer

    # -- sending

    def _send(self, head: bytes, body: Body) -> None:
        pieces = (body,) if isinstance(body, bytes) else body
        length = len(body) if isinstance(body, bytes) else sum(map(len, body))
        stream, block, size = self._stream, len(head), length + 5
        due, self._due = self._due, b""
        start = http2.FRAME_HEAD.pack(block >> 8, block & 0xFF, http2.HEADERS, http2.END_HEADERS, stream)
        if size > min(ONE_WRITE_BYTES, self._frame_size, self._window, self._stream_window):
            self._send_pieces(due + start + head, [http2.MESSAGE_HEAD.pack(0, length), *pieces])
            return
        self._window -= size
        data = _pack_message(size >> 8, size & 0xFF, http2.DATA, http2.END_STREAM, stream, 0, length)
        message = b"".join((due, start, head, data, *pieces))  # type: ignore[arg-type]  # a Remainder is longer
        try:
            sent = self._at_once.send(message)
        except BlockingIOError:
            sent = 0
        if sent < len(message):
            self._socket.sendall(message[sent:])

    def _send_pieces(self, start: bytes, pieces: list[Piece]) -> None:
        """Send pieces as DATA, as much at a time as the server allows; stops when it has answered already."""
        parts: list[Any] = [start]
        left = sum(map(len, pieces))
        for piece in pieces:
            if isinstance(piece, Remainder):
                piece.begin()
            at, size = 0, len(piece)
            while at < size:
                if self._window <= 0 or self._stream_window <= 0 or len(parts) > 2 * PIECES:
                    send_parts(self._socket, parts)
                    parts = []
                while self._window <= 0 or self._stream_window <= 0:
                    self._feed(self._read_when_come())
                    self._send_due()
                    if self._answer.status is not None:
                        self.reusable = False  # in the middle of a call
                        return
                if isinstance(piece, Remainder):
                    sent = self._send_on(parts, piece, size - at, left)
                    parts = []
                else:
                    sent = self._add_frames(parts, memoryview(piece)[at:], left)
                at += sent
                left -= sent
        send_parts(self._socket, parts)

    def _send_on(self, parts: list[Any], remainder: Remainder, size: int, left: int) -> int:
        """Send the parts, and after them as much of the next `size` bytes of a body as the server allows in one frame;
        return how much. `left`: see `_add_frames`."""
        room = min(size, self._window, self._stream_window, self._frame_size)
        held = remainder.held(room)
        head = http2.frame_head(room, http2.DATA, http2.END_STREAM if room == left else 0, self._stream)
        send_parts(self._socket, [*parts, head, held])
        remainder.send(self._socket, room - len(held))
        self._window -= room
        self._stream_window -= room
        return room

    def _add_frames(self, parts: list[Any], piece: memoryview, left: int) -> int:
        """Add frames for as much of a piece as the server allows and one system call takes, and return how much.

        `left` bytes of the whole message are still to be sent, the piece included.
        """
        size = self._frame_size
        room = min(len(piece), self._window, self._stream_window, size * PIECES)
        head = http2.frame_head(size, http2.DATA, 0, self._stream)
        last = room - (room % size or size)  # where the last frame begins
        for at in range(0, last, size):
            parts += (head, piece[at : at + size])
        flags = http2.END_STREAM if room == left else 0
        parts += (http2.frame_head(room - last, http2.DATA, flags, self._stream), piece[last:room])
        self._window -= room
        self._stream_window -= room
        return room

    # -- receiving

    def _send_due(self) -> None:
        """Answer what the server has asked, such as a PING, while a call is under way."""
        if self._due and self._answer.status is None:
            due, self._due = self._due, b""
            with contextlib.suppress(OSError):
                self._socket.sendall(due)

    def _read_when_come(self) -> bytes:
        """Wait first: what is waited for has not come yet, as a rule."""
        if self._readable is not None:
            self._readable.wait()
        try:
            data: bytes = self._at_once.recv(RECEIVE_BYTES)
        except OSError:
            data = b""
        return data or self._read(RECEIVE_BYTES)

    def _read(self, most: int) -> bytes:
        try:
            data: bytes = self._socket.recv(most)
        except OSError as error:
            raise CutOff(str(error), not self._begun) from None
        if not data:
            raise CutOff("the connection was closed", not self._begun)
        return data

    def _feed(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        at, size = 0, len(data)
        while size - at >= 9:
            high, low, kind, flags, stream = _unpack(data, at)
            if kind == http2.HEADERS and self._take_all(data, at):
                at = size
                break
            start = at + 9
            at = start + (high << 8 | low)
            if at > size:
                length = at - start
                if kind == http2.DATA and self._receive_directly(flags, stream, length, data[start:]):
                    self._buffer = b""
                    return
                if kind != http2.DATA and length > http2.MAX_HEADER_BLOCK:
                    raise ProtocolError(f"a frame of {length} bytes and kind {kind}")
                at = start - 9
                break
            self._take(kind, flags, stream & http2.STREAM, data[start:at])
        self._buffer = data[at:]

    def _take_all(self, data: bytes, at: int) -> bool:
        """Take the whole answer, if it is all that has come and has the last one's headers, as nearly all have."""
        answer = self._answer
        if self._begun or self._block is not None or answer.status is not None:
            return False
        stream = self._stream.to_bytes(4, "big")
        head, block, first = self._first
        start = head + stream + block
        head, block, last = self._last
        end = head + stream + block
        message_end = len(data) - len(end)
        size = message_end - at - len(start) - 14
        if size < 0 or last.status is None or not data.endswith(end):
            return False
        length = size + 5
        start += _pack_message(length >> 8, length & 0xFF, http2.DATA, 0, self._stream, 0, size)
        if not data.startswith(start, at):
            return False
        self._count(length)
        answer.message = data[message_end - size : message_end]
        answer.initial = first.metadata
        answer.end(last.status, last.details, last.metadata)
        return True

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and kind != http2.CONTINUATION:
            raise ProtocolError("an unfinished header block")
        if kind == http2.DATA:
            self._count(len(payload))
            if stream == self._stream:
                self._data(flags, http2.unpadded(flags, payload))
        elif kind == http2.HEADERS:
            payload = http2.unpadded(flags, payload)
            self._header_block(stream, flags, payload[5:] if flags & http2.HAS_PRIORITY else payload)
        elif kind == http2.CONTINUATION:
            if self._block is None:
                raise ProtocolError("no header block to continue")
            first_flags, block = self._block
            self._header_block(stream, first_flags | flags & http2.END_HEADERS, block + payload)
        elif kind == http2.SETTINGS:
            self._settings(flags, payload)
        elif kind == http2.WINDOW_UPDATE:
            self._more_window(stream, payload)
        elif kind == http2.PING:
            if not flags & http2.ACK:
                self._due += http2.frame(http2.PING, http2.ACK, 0, payload)
        elif kind == http2.RST_STREAM:
            if stream == self._stream and self._answer.status is None:
                self._answer.end(*http2.status_of_reset(int.from_bytes(payload, "big")))
        elif kind == http2.GOAWAY:
            self._go_away(payload)
        elif kind == http2.PUSH:
            raise ProtocolError("a push that nobody allowed")

    def _header_block(self, stream: int, flags: int, block: bytes) -> None:
        if len(block) > http2.MAX_HEADER_BLOCK:
            raise ProtocolError("endless headers")
        if not flags & http2.END_HEADERS:
            self._block = (flags, block)
            return
        self._block = None
        if stream != self._stream or self._answer.status is not None:
            return
        self._begun = True
        fields, last = http2.read_fields(block), flags & http2.END_STREAM
        frame = http2.frame(http2.HEADERS, http2.END_HEADERS | last, 0, block)
        if last and fields.status is not None:
            self._last = (frame[:5], block, fields)
        elif not last and fields.http_status == 200:
            self._first = (frame[:5], block, fields)
        self._fields(fields, bool(last))

    def _fields(self, fields: Fields, last: bool) -> None:
        answer = self._answer
        if not last:
            answer.initial = fields.metadata
            if fields.http_status != 200:
                answer.end(*http2.status_of_http(fields.http_status))
                self.reusable = False  # its body is nobody's
        elif fields.status is not None:
            answer.end(fields.status, fields.details, fields.metadata)
        else:
            answer.end(*http2.status_of_http(fields.http_status or 200))

    def _data(self, flags: int, payload: bytes) -> None:
        if self._answer.status is not None:
            return
        if self._message is not None:
            self._message.add(payload)
        elif payload or self._message_head:
            self._begin_message(self._message_head + payload if self._message_head else payload)
        self._end_data(flags)

    def _begin_message(self, data: bytes) -> None:
        """Take the first bytes of the answer's message."""
        self._begun = True
        if self._answer.message is not None:
            raise ProtocolError("more than one message")
        if len(data) < http2.MESSAGE_HEAD.size:
            self._message_head = data
            return
        self._message_head = b""
        compressed, size = http2.MESSAGE_HEAD.unpack_from(data)
        if compressed:
            raise ProtocolError("a compressed message that nobody asked for")
        if len(data) == 5 + size:
            self._answer.message = data[5:]
            return
        if size > MAX_MESSAGE_BYTES:
            text = f"The response has {size} bytes; the limit is {MAX_MESSAGE_BYTES}."
            self._answer.end(http2.RESOURCE_EXHAUSTED, text)
            self.reusable = False
            return
        self._message = Message(size)
        self._message.add(memoryview(data)[5:])

    def _end_data(self, flags: int) -> None:
        """After the bytes of a DATA frame: the message may be whole, and the stream at its end."""
        if self._message is not None and not self._message.missing:
            self._answer.message, self._message = self._message.value(), None
        if flags & http2.END_STREAM and self._answer.status is None:
            self._answer.end(*http2.status_of_http(200))

    def _receive_directly(self, flags: int, stream: int, length: int, start: bytes) -> bool:
        """Receive a large DATA frame of the message, of which `start` has come; False when this one is not for it."""
        message = self._message
        left = length - len(start)
        if stream != self._stream or flags & http2.PADDED or left < DIRECT_BYTES:
            return False
        if message is None:
            if len(start) < http2.MESSAGE_HEAD.size or self._message_head or self._answer.status is not None:
                return False
            self._begin_message(start)
            message = self._message
            if message is None:
                raise ProtocolError("more than one message")
        else:
            message.add(start)
        if left > message.missing:
            raise ProtocolError("more than one message")
        self._count(length)
        while left:
            try:
                received = message.receive(self._socket, left)
            except OSError as error:
                raise CutOff(str(error), False) from None
            if not received:
                raise CutOff("the connection was closed", False)
            left -= received
        self._end_data(flags)
        return True

    def _count(self, size: int) -> None:
        """Let the server send on: its leave to send is used up by what it has sent."""
        self._received += size
        self._received_of_stream += size
        if self._received >= TOP_UP_BYTES:
            self._due += http2.frame(http2.WINDOW_UPDATE, 0, 0, self._received.to_bytes(4, "big"))
            self._received = 0
        if self._received_of_stream >= TOP_UP_BYTES:
            more = self._received_of_stream.to_bytes(4, "big")
            self._due += http2.frame(http2.WINDOW_UPDATE, 0, self._stream, more)
            self._received_of_stream = 0

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & http2.ACK:
            return
        if len(payload) % http2.SETTING.size:
            raise ProtocolError("settings of a strange size")
        for name, value in http2.SETTING.iter_unpack(payload):
            if name == http2.INITIAL_WINDOW_SIZE:
                self._stream_window += value - self._first_window
                self._first_window = value
            elif name == http2.MAX_FRAME_SIZE:
                self._frame_size = max(http2.DEFAULT_FRAME, min(value, http2.OUR_FRAME_SIZE))
        self._due += http2.frame(http2.SETTINGS, http2.ACK, 0)

    def _more_window(self, stream: int, payload: bytes) -> None:
        more = int.from_bytes(payload, "big") & http2.MAX_WINDOW
        if not stream:
            self._window += more
        elif stream == self._stream:
            self._stream_window += more

    def _go_away(self, payload: bytes) -> None:
        """The server takes no more calls here; whether it takes this one still, it says."""
        self.reusable = False
        if int.from_bytes(payload[:4], "big") & http2.STREAM < self._stream:
            raise CutOff("the server takes no more calls on this connection", True)
