"""Cutting a stream into records: SplitType None, Line, RecordIO and TFRecord.

Reads ahead by one buffer only, and holds one record: memory does not grow with the stream. A record that is longer
than the limit is refused before it is read whole.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import google_crc32c

from tfsd.sagemaker.transform.errors import DataError

BUFFER_BYTES = 1 << 18
RECORDIO_MAGIC = 0xCED7230A
RECORDIO_WHOLE, RECORDIO_FIRST, RECORDIO_LAST = 0, 1, 3  # the upper three bits of the second word
CRC_MASK_DELTA = 0xA282EAD8


def decompressed(stream: BinaryIO) -> BinaryIO:
    """The content of a gzip stream of one or several members (CompressionType Gzip)."""
    return gzip.GzipFile(fileobj=stream)  # type: ignore[return-value]  # a BinaryIO in all but name


def split(stream: BinaryIO, split_type: str, limit: int | None, *, padding: bool = True) -> Iterator[bytes]:
    """The records of `stream`.

    Args:
        split_type: `None` (one record, all of it), `Line` (without line ends; blank lines are no records),
            `RecordIO` or `TFRecord`.
        limit: bytes that a record may have; None: as many as it has.
        padding: whether records of a binary format keep their frame (header, checksums, padding). SageMaker removes
            it when each record is sent by itself.

    Raises DataError for a record over the limit and for a stream that is not of that format.
    """
    buffered = io.BufferedReader(cast(Any, stream), BUFFER_BYTES)
    with _gzip_errors():
        yield from SPLITTERS[split_type](buffered, limit, padding)


def line_blocks(stream: BinaryIO, limit: int) -> Iterator[tuple[bytes, int]]:
    """As many lines as fit in `limit` bytes at a time, with newlines between them, and how many they are.

    What `split` and joining by newlines would give, without the cost of taking each line into the hand.
    """
    rest = b""
    while True:
        with _gzip_errors():
            block = rest + _read(stream, limit + 2 - len(rest))
        whole = len(block) <= limit
        end = len(block) if whole else block.rfind(b"\n", 0, limit + 1)
        if end < 0:
            end = len(block)
            _check_length(limit if block[limit:] in (b"\r\n", b"\r") else end, limit)
        lines, rest = without_blank_lines(block[:end]), block[end:].lstrip(b"\n")
        if lines:
            yield lines, lines.count(b"\n") + 1
        if whole:
            return


def without_blank_lines(data: bytes) -> bytes:
    """The lines of `data` with newlines between them, as `split` has them."""
    data = data.strip(b"\n")
    if b"\r" in data or b"\n\n" in data:
        return b"\n".join(filter(None, (line.removesuffix(b"\r") for line in data.split(b"\n"))))
    return data


def lines_of(data: bytes) -> list[bytes]:
    """What `split` by Line would give for all of `data`, at once."""
    lines = without_blank_lines(data)
    return lines.split(b"\n") if lines else []


@contextlib.contextmanager
def _gzip_errors() -> Iterator[None]:
    """What goes wrong in a gzip stream is the data's fault."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"The object is not whole gzip data: {error}.") from error


def _whole(stream: io.BufferedReader, limit: int | None, padding: bool) -> Iterator[bytes]:
    record = stream.read() if limit is None else stream.read(limit + 1)
    _check_length(len(record), limit)
    yield record


def _lines(stream: io.BufferedReader, limit: int | None, padding: bool) -> Iterator[bytes]:
    most = -1 if limit is None else limit + 3  # the line's end, and one byte that is too many
    while line := stream.readline(most):
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        _check_length(len(line), limit)
        if line:
            yield line


def _recordio(stream: io.BufferedReader, limit: int | None, padding: bool) -> Iterator[bytes]:
    """MXNet's RecordIO: magic, length and a flag for the parts of a record that contains the magic, data to 4 bytes."""
    position = 0
    parts: list[bytes] = []
    begun = False
    while header := stream.read(8):
        if len(header) < 8 or int.from_bytes(header[:4], "little") != RECORDIO_MAGIC:
            raise DataError(f"There is no RecordIO record at byte {position}.")
        word = int.from_bytes(header[4:], "little")
        flag, length = word >> 29, word & 0x1FFFFFFF
        if begun == (flag in (RECORDIO_WHOLE, RECORDIO_FIRST)):
            raise DataError(f"The parts of a RecordIO record are out of order at byte {position}.")
        _check_length(sum(map(len, parts)) + length, limit)
        data = _exactly(stream, -(-length // 4) * 4, position)
        if padding:
            parts.append(header + data)
        else:  # the parts were cut where the data holds the magic number, which the cut leaves out
            parts.append((RECORDIO_MAGIC.to_bytes(4, "little") if begun else b"") + data[:length])
        position += 8 + len(data)
        begun = flag not in (RECORDIO_WHOLE, RECORDIO_LAST)
        if not begun:
            yield b"".join(parts)
            parts = []
    if begun:
        raise DataError("The object ends within a RecordIO record of several parts.")


def _tfrecord(stream: io.BufferedReader, limit: int | None, padding: bool) -> Iterator[bytes]:
    """TFRecord: length and its masked CRC-32C, data and its own."""
    position = 0
    while header := stream.read(12):
        if len(header) < 12 or header[8:] != _masked_crc(header[:8]):
            raise DataError(f"There is no TFRecord record at byte {position}.")
        (length,) = struct.unpack("<Q", header[:8])
        _check_length(length, limit)
        data = _exactly(stream, length, position)
        crc = _exactly(stream, 4, position)
        if crc != _masked_crc(data):
            raise DataError(f"The TFRecord record at byte {position} is damaged: its checksum differs.")
        yield header + data + crc if padding else data
        position += 16 + length


SPLITTERS = {"None": _whole, "Line": _lines, "RecordIO": _recordio, "TFRecord": _tfrecord}


def _read(stream: BinaryIO, size: int) -> bytes:
    """As many bytes as asked for, unless the stream ends."""
    pieces = []
    while size > 0 and (piece := stream.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _exactly(stream: io.BufferedReader, length: int, position: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise DataError(f"The object ends within the record at byte {position}.")
    return data


def _check_length(length: int, limit: int | None) -> None:
    if limit is not None and length > limit:
        raise DataError(
            f"A record is larger than MaxPayloadInMB allows ({limit / 2**20:g} MB): raise MaxPayloadInMB, or set "
            "SplitType so that the object is split."
        )


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + CRC_MASK_DELTA) & 0xFFFFFFFF)
