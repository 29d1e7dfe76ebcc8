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
