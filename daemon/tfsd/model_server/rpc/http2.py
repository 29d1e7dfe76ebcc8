"""HTTP/2 as gRPC's unary calls need it: frames, a call's headers, the bytes of an answer.

Owns the wire format (RFC 9113, RFC 7541, gRPC over HTTP/2). Never touches a socket and runs no method.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from struct import Struct
from urllib.parse import quote

from hpack import Decoder, HPACKError

from tfsd.model_server.errors import Code, ServingError
from tfsd.model_server.rpc.method import details

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR = 0, 1, 3, 6
STREAM_CLOSED, REFUSED_STREAM, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 5, 7, 9, 11
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 4, 5  # settings
DEFAULT_WINDOW, DEFAULT_FRAME, MAX_WINDOW = 65535, 16384, 2**31 - 1
#: A frame's head: its length in two parts, its type, its flags, its stream.
FRAME_HEAD = Struct(">BHBBI")
MESSAGE_HEAD = 5

MAX_HEADER_BLOCK = 64 * 1024
OUR_FRAME_SIZE = 1 << 20
_MAX_CACHED = 64
_MAX_MESSAGE = 2**31 - 1
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_GZIP_OR_ZLIB = 47  # zlib: 15 bits, and whichever of the two headers comes


class BadConnection(Exception):
    """The connection cannot go on; `code` is for its GOAWAY frame."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return b"%b%c%c%b%b" % (
        len(payload).to_bytes(3, "big"),
        kind,
        flags,
        stream.to_bytes(4, "big"),
        payload,
    )


def _literal(name: bytes, value: bytes) -> bytes:
    """A header field without indexing."""
    return b"\x00" + _string(name) + _string(value)


def _string(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes((len(text),)) + text
    rest, length = len(text) - 127, bytearray((127,))
    while rest >= 128:
        length.append(rest & 127 | 128)
        rest >>= 7
    length.append(rest)
    return bytes(length) + text


_STATUS_200 = b"\x88"
_RESPONSE_FIELDS = _STATUS_200 + _literal(b"content-type", b"application/grpc")
_OK_FIELDS = _literal(b"grpc-status", b"0")
_RESPONSE_HEAD = len(_RESPONSE_FIELDS).to_bytes(3, "big") + bytes((HEADERS, END_HEADERS))
_TRAILERS_HEAD = len(_OK_FIELDS).to_bytes(3, "big") + bytes((HEADERS, END_HEADERS | END_STREAM))
_DATA_HEAD = bytes((DATA, 0))

GREETING = frame(
    SETTINGS,
    0,
    0,
    INITIAL_WINDOW_SIZE.to_bytes(2, "big")
    + MAX_WINDOW.to_bytes(4, "big")
    + MAX_FRAME_SIZE.to_bytes(2, "big")
    + OUR_FRAME_SIZE.to_bytes(4, "big"),
) + frame(WINDOW_UPDATE, 0, 0, (MAX_WINDOW - DEFAULT_WINDOW).to_bytes(4, "big"))


def response_head(stream: int) -> bytes:
    """The frame that begins an answer with a message."""
    return _RESPONSE_HEAD + stream.to_bytes(4, "big") + _RESPONSE_FIELDS


def response_end(stream: int) -> bytes:
    """The frame that ends it: grpc-status 0."""
    return _TRAILERS_HEAD + stream.to_bytes(4, "big") + _OK_FIELDS


def response(stream: int, message: bytes) -> bytes:
    """A whole answer whose message is in one frame."""
    number, size = stream.to_bytes(4, "big"), len(message)
    return b"".join(
        (
            _RESPONSE_HEAD,
            number,
            _RESPONSE_FIELDS,
            (size + MESSAGE_HEAD).to_bytes(3, "big"),
            _DATA_HEAD,
            number,
            message_head(size),
            message,
            _TRAILERS_HEAD,
            number,
            _OK_FIELDS,
        )
    )


def message_head(size: int) -> bytes:
    """What precedes a message of `size` bytes within DATA frames."""
    return b"\x00" + size.to_bytes(4, "big")


def failure(stream: int, error: ServingError) -> bytes:
    """A whole answer that is a status without a message."""
    text = quote(details(error), safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~").encode()
    status = _literal(b"grpc-status", str(error.code.value).encode())
    fields = _RESPONSE_FIELDS + status + _literal(b"grpc-message", text)
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, fields)


@dataclass(frozen=True, slots=True)
class CallHead:
    """What a call's headers say.

    Attributes:
        path: `/package.Service/Method`.
        timeout: seconds, None for no limit.
        encoding: of compressed messages.
    """

    path: str
    timeout: float | None
    encoding: bytes


class HeaderReader:
    """Reads the header blocks of one connection.

    A client repeats itself: a block that leaves HPACK's table as it is means the same until another one changes it, so
    what it means is remembered.
    """

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=MAX_HEADER_BLOCK)
        self._known: dict[bytes, CallHead] = {}

    def read(self, block: bytes) -> CallHead:
        """Raises BadConnection: the block cannot be read, so that no later one can be either."""
        known = self._known.get(block)
        if known is not None:
            return known
        before = self._table()
        try:
            fields = self._decoder.decode(block, raw=True)
        except HPACKError:
            raise BadConnection(COMPRESSION_ERROR) from None
        head = _call_head(dict(fields))
        after = self._table()
        if after[0] != before[0] or after[1] is not before[1]:
            self._known.clear()
        elif (
            len(self._known) < _MAX_CACHED and not 0x20 <= min(block[:1], default=0) < 0x40
        ):  # sets the table's size
            self._known[bytes(block)] = head
        return head

    def _table(self) -> tuple[int, object]:
        """The table's length and its newest entry, one of which is another one when the table has changed."""
        entries = self._decoder.header_table.dynamic_entries
        return len(entries), entries[0] if entries else None


def _call_head(fields: dict[bytes, bytes]) -> CallHead:
    path = fields.get(b":path", b"").decode("latin-1")
    if fields.get(b":method") != b"POST" or not fields.get(b"content-type", b"").startswith(
        b"application/grpc"
    ):
        path = ""  # is no method's
    return CallHead(
        path, _timeout(fields.get(b"grpc-timeout", b"")), fields.get(b"grpc-encoding", b"identity")
    )


def _timeout(value: bytes) -> float | None:
    text = value.decode("latin-1")
    if not (1 < len(text) <= 9 and text[:-1].isascii() and text[:-1].isdigit()):
        return None
    seconds = _SECONDS.get(text[-1])
    return None if seconds is None else int(text[:-1]) * seconds


def message(body: bytes, encoding: bytes) -> bytes:
    """The one message in a unary call's DATA.

    Raises ServingError: INTERNAL when it is not exactly one, UNIMPLEMENTED for a compression that we do not know.
    """
    if len(body) < 5 or int.from_bytes(body[1:5], "big") != len(body) - 5:
        raise ServingError(Code.INTERNAL, "A unary call takes exactly one whole message.")
    if not body[0]:
        return body[5:]
    if encoding not in (b"gzip", b"deflate"):
        name = encoding.decode("latin-1")
        raise ServingError(Code.UNIMPLEMENTED, f"Messages compressed with '{name}' cannot be read.")
    inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        inflated = inflater.decompress(body[5:], _MAX_MESSAGE)
    except zlib.error:
        inflated = b""
    if not inflater.eof:
        raise ServingError(Code.INTERNAL, "The compressed message cannot be inflated.")
    return inflated
