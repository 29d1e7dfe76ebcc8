"""Records of every format come out as they went in, however the stream is cut; damage is found and named."""

from __future__ import annotations

import gzip
import io
import struct

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.sagemaker.transform.errors import DataError
from tfsd.sagemaker.transform.splitting import RECORDIO_MAGIC, decompressed, line_blocks, lines_of, split

MAGIC = RECORDIO_MAGIC.to_bytes(4, "little")
records = st.lists(st.binary(max_size=40) | st.just(MAGIC) | st.just(b"ab" + MAGIC + b"cd"), max_size=8)


class Dribble(io.RawIOBase):
    """A stream that gives a few bytes at a time, as a network does."""

    def __init__(self, data: bytes, size: int) -> None:
        self._stream, self._size = io.BytesIO(data), size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._stream.read(min(self._size, len(buffer)))
        buffer[: len(piece)] = piece
        return len(piece)


def masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def tfrecord(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def recordio(data: bytes) -> bytes:
    """As MXNet's writer does: a record is cut wherever an aligned word is the magic number, which is left out."""
    cuts = [i for i in range(0, len(data) - 3, 4) if data[i : i + 4] == MAGIC]
    starts, ends = [0, *[cut + 4 for cut in cuts]], [*cuts, len(data)]
    parts = [data[start:end] for start, end in zip(starts, ends, strict=True)]
    flags = [0] if len(parts) == 1 else [1, *[2] * (len(parts) - 2), 3]
    return b"".join(
        MAGIC + struct.pack("<I", flag << 29 | len(part)) + part + bytes(-len(part) % 4)
        for flag, part in zip(flags, parts, strict=True)
    )


def cut(
    data: bytes, split_type: str, size: int = 7, limit: int | None = None, *, padding: bool = True
) -> list[bytes]:
    return list(split(Dribble(data, size), split_type, limit, padding=padding))  # type: ignore[arg-type]


@given(
    st.lists(st.binary(max_size=30).filter(lambda line: not set(line) & set(b"\r\n"))),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
    st.integers(1, 50),
)
def test_lines(lines: list[bytes], end: bytes, ends: bool, size: int) -> None:
    data = end.join(lines) + (end if ends else b"")
    assert cut(data, "Line", size) == [line for line in lines if line]


@given(
    st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"bc", b"def"])).map(b"".join), st.integers(1, 9)
)
def test_blocks_of_lines_are_the_lines(data: bytes, limit: int) -> None:
    """Blocks hold what taking each line would have given, or refuse it likewise."""
    try:
        expected = cut(data, "Line", limit=limit)
    except DataError:
        with pytest.raises(DataError):
            list(line_blocks(io.BytesIO(data), limit))
        return
    blocks = list(line_blocks(io.BytesIO(data), limit))
    assert [line for block, _ in blocks for line in block.split(b"\n")] == expected
    assert all(len(block) <= limit and count == block.count(b"\n") + 1 for block, count in blocks)


@given(st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"bc", b"def"])).map(b"".join))
def test_lines_at_once_are_the_lines(data: bytes) -> None:
    assert lines_of(data) == cut(data, "Line")


@given(records, st.integers(1, 50))
def test_tfrecords(contents: list[bytes], size: int) -> None:
    data = b"".join(map(tfrecord, contents))
    assert cut(data, "TFRecord", size) == list(map(tfrecord, contents))
    assert cut(data, "TFRecord", size, padding=False) == contents


@given(records, st.integers(1, 50))
def test_recordio(contents: list[bytes], size: int) -> None:
    data = b"".join(map(recordio, contents))
    assert cut(data, "RecordIO", size) == list(map(recordio, contents))
    assert cut(data, "RecordIO", size, padding=False) == contents


@given(st.binary(), st.sampled_from(["None", "Line", "RecordIO", "TFRecord"]), st.integers(0, 64))
def test_any_bytes_are_split_or_refused(data: bytes, split_type: str, limit: int) -> None:
    try:
        found = cut(data, split_type, limit=limit, padding=False)
    except DataError:
        return
    assert all(len(record) <= limit for record in found)


@given(st.binary(min_size=1, max_size=40), st.data())
def test_a_damaged_tfrecord_is_found(content: bytes, data: st.DataObject) -> None:
    whole = tfrecord(content)
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DataError):
        cut(bytes(damaged), "TFRecord", limit=1000)


@pytest.mark.parametrize("split_type", ["RecordIO", "TFRecord"])
def test_a_truncated_record_is_found(split_type: str) -> None:
    whole = {"RecordIO": recordio, "TFRecord": tfrecord}[split_type](b"0123456789")
    for length in range(1, len(whole)):
        with pytest.raises(DataError):
            cut(whole[:length], split_type)


def test_all_of_an_object_is_one_record() -> None:
    assert cut(b"a\nb\n", "None") == [b"a\nb\n"]
    assert cut(b"", "None") == [b""]


def test_a_record_over_the_limit_is_refused_before_it_is_read_whole() -> None:
    class Endless(io.RawIOBase):
        taken = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            self.taken += len(buffer)
            buffer[:] = b"x" * len(buffer)
            return len(buffer)

    for split_type in ("None", "Line"):
        stream = Endless()
        with pytest.raises(DataError, match="larger than MaxPayloadInMB"):
            list(split(stream, split_type, 2**20))  # type: ignore[arg-type]
        assert stream.taken < 2**21


def test_a_line_may_be_as_long_as_the_limit() -> None:
    assert cut(b"12345\r\n12345\n12345", "Line", limit=5) == [b"12345"] * 3
    with pytest.raises(DataError):
        cut(b"123456\n", "Line", limit=5)


def test_gzip_of_several_members() -> None:
    data = gzip.compress(b"a\nb\n") + gzip.compress(b"c\n")
    assert list(split(decompressed(io.BytesIO(data)), "Line", None)) == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    "data",
    [gzip.compress(b"abc" * 1000)[:-9], b"no gzip at all", gzip.compress(b"x")[:-1] + b"!"],
    ids=["cut", "none", "a wrong length"],
)
def test_damaged_gzip_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="gzip"):
        list(split(decompressed(io.BytesIO(data)), "Line", None))
