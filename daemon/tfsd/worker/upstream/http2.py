"""HTTP/2 as a client of gRPC's unary calls needs it: frames, header blocks, statuses, metadata.

Owns the wire format (RFC 9113, RFC 7541, gRPC over HTTP/2). Never touches a socket. A header block stands alone here:
what is sent refers to nothing that was sent before, and a server is told to do the same (a dynamic table of no bytes),
so that a block which came once need not be decoded again.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from hpack import Decoder, HPACKError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 2, 4, 5  # settings
DEFAULT_WINDOW, DEFAULT_FRAME, MAX_WINDOW = 65535, 16384, 2**31 - 1
FRAME_HEAD = struct.Struct(">HBBBI")  # the length's three bytes are the first two fields
SETTING = struct.Struct(">HI")
MESSAGE_HEAD = struct.Struct(">BI")  # whether it is compressed, bytes
MESSAGE_FRAME_HEAD = struct.Struct(">HBBBIBI")  # both, of a frame that holds a message
STREAM = 0x7FFFFFFF
OUR_FRAME_SIZE = 2**24 - 1
MAX_HEADER_BLOCK = 64 * 1024
_CACHED_BLOCKS = 256

OK, CANCELLED, UNKNOWN, PERMISSION_DENIED, RESOURCE_EXHAUSTED = 0, 1, 2, 7, 8
UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED, DEADLINE_EXCEEDED = 12, 13, 14, 16, 4
_OF_RESET = {0x7: UNAVAILABLE, 0x8: CANCELLED, 0xB: RESOURCE_EXHAUSTED, 0xC: PERMISSION_DENIED}
_OF_HTTP = {  # gRPC's http-grpc-status-mapping.md
    400: INTERNAL, 401: UNAUTHENTICATED, 403: PERMISSION_DENIED, 404: UNIMPLEMENTED,
    429: UNAVAILABLE, 502: UNAVAILABLE, 503: UNAVAILABLE, 504: UNAVAILABLE,
}  # fmt: skip
_RESERVED = {b"content-type", b"grpc-status", b"grpc-message", b"grpc-encoding", b"grpc-accept-encoding"}
_KEY = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(rb"[\x20-\x7e]*")
_BINARY = "-bin"


class ProtocolError(Exception):
    """The server sent what is no HTTP/2, or none that this client asked for."""


class Metadatum(NamedTuple):
    """One entry of a call's metadata. The value is bytes where the key ends in `-bin`."""

    key: str
    value: str | bytes


@dataclass(frozen=True, slots=True)
class Fields:
    """What a header block of an answer says.

    Attributes:
        http_status: of the response, 0 when the block does not say.
        status: gRPC's, None when the block does not say.
        details: the status's text.
        metadata: all that is the service's own.
    """

    http_status: int
    status: int | None
    details: str
    metadata: tuple[Metadatum, ...]


NO_FIELDS = Fields(0, None, "", ())


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return frame_head(len(payload), kind, flags, stream) + payload


def frame_head(size: int, kind: int, flags: int, stream: int) -> bytes:
    """What precedes a payload of `size` bytes."""
    return FRAME_HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream)


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    """A frame of SETTINGS."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(name, value) for name, value in values))


GREETING = (
    PREFACE
    + settings(
        [
            (HEADER_TABLE_SIZE, 0),
            (ENABLE_PUSH, 0),
            (INITIAL_WINDOW_SIZE, MAX_WINDOW),
            (MAX_FRAME_SIZE, OUR_FRAME_SIZE),
        ]
    )
    + frame(WINDOW_UPDATE, 0, 0, (MAX_WINDOW - DEFAULT_WINDOW).to_bytes(4, "big"))
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


_METHOD_POST, _SCHEME_HTTP, _PATH, _AUTHORITY = b"\x83", b"\x86", b"\x04", b"\x01"  # of the static table
_CONTENT_TYPE = b"\x0f\x10"
_SAME_FOR_ALL = (
    _METHOD_POST
    + _SCHEME_HTTP
    + _AUTHORITY
    + _string(b"localhost")
    + _literal(b"te", b"trailers")
    + _CONTENT_TYPE
    + _string(b"application/grpc")
)


@lru_cache(_CACHED_BLOCKS)
def call_fields(method: str, timeout: bytes) -> bytes:
    """The header block of a call of `/package.Service/Method`, without metadata; `timeout`: see `timeout_value`."""
    block = _SAME_FOR_ALL + _PATH + _string(method.encode())
    return block + _literal(b"grpc-timeout", timeout) if timeout else block


_SECONDS = tuple(b"%dS" % seconds for seconds in range(100))


def timeout_value(seconds: float) -> bytes:
    """The value of `grpc-timeout`: two digits that count, rounded up, so that like calls have the same header block.

    It tells the server when nobody waits any longer; the limit itself is kept here.
    """
    if seconds <= 10:
        return _rounded(math.ceil(seconds * 1000), "m")
    whole = math.ceil(seconds)
    return _SECONDS[whole] if whole < 100 else _rounded(whole, "S")


@lru_cache(_CACHED_BLOCKS)
def _rounded(value: int, unit: str) -> bytes:
    if value >= 99_999_999:
        return b""
    step: int = 10 ** max(0, len(str(value)) - 2)
    return b"%d%b" % (-(-value // step) * step, unit.encode())


def metadata_fields(metadata: Iterable[tuple[str, str | bytes]]) -> bytes:
    """A call's metadata as header fields. Raises ValueError, as gRPC does."""
    return b"".join(_metadatum(*entry) for entry in metadata)


def _metadatum(key: str, value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    if not _KEY.fullmatch(key) or key.startswith("grpc-"):
        raise ValueError(f"metadata was invalid: the key {key!r} is not allowed")
    if key.endswith(_BINARY):
        raw = base64.b64encode(raw).rstrip(b"=")
    elif not _VALUE.fullmatch(raw):
        raise ValueError(f"metadata was invalid: the value of {key!r} is not printable ASCII")
    return _literal(key.encode(), raw)


@lru_cache(_CACHED_BLOCKS)
def read_fields(block: bytes) -> Fields:
    """What a header block of an answer says. Raises ProtocolError."""
    decoder = Decoder(MAX_HEADER_BLOCK)
    decoder.max_allowed_table_size = decoder.header_table_size = 0
    try:
        fields = [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
    except HPACKError as error:
        raise ProtocolError(f"headers that cannot be read: {error}") from None
    first = dict(reversed(fields))
    own = tuple(
        _read_metadatum(name, value)
        for name, value in fields
        if name not in _RESERVED and not name.startswith(b":")
    )
    status = first.get(b"grpc-status")
    details = unquote_to_bytes(first.get(b"grpc-message", b"")).decode("utf-8", "replace")
    return Fields(
        _number(first.get(b":status", b"0")), None if status is None else _number(status), details, own
    )


def _number(text: bytes) -> int:
    return int(text) if text.isdigit() else UNKNOWN


def _read_metadatum(name: bytes, value: bytes) -> Metadatum:
    key = name.decode("latin-1")
    if not key.endswith(_BINARY):
        return Metadatum(key, value.decode("latin-1"))
    try:
        return Metadatum(key, base64.b64decode(value + b"=" * (-len(value) % 4)))
    except binascii.Error:
        return Metadatum(key, value)


def status_of_http(http_status: int) -> tuple[int, str]:
    """The status and details of a response that has none of gRPC's."""
    if http_status == 200:
        return UNKNOWN, "The server ended its response without a status."
    return _OF_HTTP.get(http_status, UNKNOWN), f"The server answered with HTTP status {http_status}."


def status_of_reset(code: int) -> tuple[int, str]:
    """The status and details of a call whose stream was reset."""
    return _OF_RESET.get(code, INTERNAL), f"The server gave the call up (RST_STREAM with error {code})."


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of a frame without its padding. Raises ProtocolError."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ProtocolError("more padding than payload")
    return payload[1 : len(payload) - payload[0]]
