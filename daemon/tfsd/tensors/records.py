"""Serialised tf.Examples: one by itself, or several as TFRecords.

Owns the framing (tensorflow/core/lib/io/record_writer.h): the length as 8 bytes, its checksum, the data, its checksum.
The checksum of a length says whether a body is framed at all; those of the data are not computed, since the connection
has checked the bytes and a damaged Example does not parse.
"""

from __future__ import annotations

import struct
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.example import example_pb2

from tfsd.errors import BadRequest

_HEAD = struct.Struct("<QI")  # length, its masked checksum
_CHECKSUM_BYTES = 4
_POLYNOMIAL, _MASK_DELTA = 0x82F63B78, 0xA282EAD8  # Castagnoli's, reflected; record_writer.h's


def split(body: bytes) -> list[bytes]:
    """The serialised Examples in a body. Raises BadRequest, naming the record."""
    if not body:
        raise BadRequest("The body is empty; send one serialised tf.Example, or several as TFRecords.")
    if not _is_head(body, 0):
        return [body]
    records: list[bytes] = []
    at = 0
    while at < len(body):
        number = len(records) + 1
        if at + _HEAD.size > len(body):
            raise BadRequest(f"Record {number} is cut short.")
        if not _is_head(body, at):
            raise BadRequest(f"Record {number} is damaged: the checksum of its length is wrong.")
        start = at + _HEAD.size
        at = start + _HEAD.unpack_from(body, at)[0] + _CHECKSUM_BYTES
        if at > len(body):
            raise BadRequest(f"Record {number} is cut short.")
        records.append(body[start : at - _CHECKSUM_BYTES])
    return records


def examples(body: bytes) -> list[Any]:
    """The tf.Examples in a body. Raises BadRequest, naming the record."""
    found = []
    for number, record in enumerate(split(body), 1):
        try:
            found.append(example_pb2.Example.FromString(record))
        except DecodeError:
            raise BadRequest(
                f"Record {number} is no serialised tf.Example; send one, or several as TFRecords."
            ) from None
    return found


def framed(record: bytes) -> bytes:
    """One TFRecord."""
    length = struct.pack("<Q", len(record))
    return b"".join((length, _checksum(length), record, _checksum(record)))


def _is_head(body: bytes, at: int) -> bool:
    return body[at + 8 : at + _HEAD.size] == _checksum(body[at : at + 8])


def _checksum(data: bytes) -> bytes:
    """The masked CRC-32C."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ _POLYNOMIAL * (crc & 1)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF)
