"""Integers in protobuf's wire form."""

from __future__ import annotations


def varint(value: int) -> bytes:
    """A non-negative integer."""
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


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
