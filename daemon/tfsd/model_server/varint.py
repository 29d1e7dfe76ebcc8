"""Protobuf's wire form: integers, and fields of bytes."""

from __future__ import annotations

_SINGLE = [bytes((value,)) for value in range(0x80)]


def varint(value: int) -> bytes:
    """A non-negative integer."""
    if value < 0x80:
        return _SINGLE[value]
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


def field(number: int, payload: bytes) -> bytes:
    """A field whose value is bytes, a string or a message."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def read_varint(message: bytes, at: int) -> tuple[int, int]:
    """The integer at position `at`, and the position after it. Raises IndexError when the message ends within it."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
