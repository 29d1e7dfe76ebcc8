"""TFRecords, against TensorFlow's own writer."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tfsd.errors import BadRequest
from tfsd.tensors import records

RECORDS = st.lists(st.binary(max_size=300), min_size=1, max_size=4)


def test_tensorflows_own_files(tmp_path: Path) -> None:
    path = str(tmp_path / "records")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(b"one")
        writer.write(b"")
        writer.write(b"three" * 100)
    body = Path(path).read_bytes()
    assert records.split(body) == [b"one", b"", b"three" * 100]
    assert b"".join(map(records.framed, records.split(body))) == body


@given(RECORDS)
def test_there_and_back(written: list[bytes]) -> None:
    assert records.split(b"".join(map(records.framed, written))) == written


@given(st.binary(min_size=1, max_size=100))
def test_what_is_not_framed_is_one_record(body: bytes) -> None:
    assert records.split(body) == [body]


@given(RECORDS, st.data())
def test_what_is_cut_short_says_so(written: list[bytes], data: st.DataObject) -> None:
    body = b"".join(map(records.framed, written))
    ends = {sum(16 + len(record) for record in written[:number]) for number in range(len(written))}
    at = data.draw(st.integers(12, len(body) - 1).filter(lambda at: at not in ends))
    with pytest.raises(BadRequest, match=r"Record \d+ is cut short"):
        records.split(body[:at])


def test_damage_is_named() -> None:
    with pytest.raises(BadRequest, match="Record 2 is damaged"):
        records.split(records.framed(b"one") + bytes(20))
    with pytest.raises(BadRequest, match="empty"):
        records.split(b"")
    with pytest.raises(BadRequest, match=r"Record 2 is no serialised tf\.Example"):
        records.examples(records.framed(b"") + records.framed(b"\xff"))


@given(st.binary(min_size=1, max_size=100))
def test_any_bytes_are_examples_or_refused(body: bytes) -> None:
    with contextlib.suppress(BadRequest):
        records.examples(body)
