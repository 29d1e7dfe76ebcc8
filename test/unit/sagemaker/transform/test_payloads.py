"""Packing: nothing is lost, added or put out of order, no payload is over its limit, and none is needlessly small."""

from __future__ import annotations

import gzip
import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.sagemaker.transform import jsonpath, payloads
from tfsd.sagemaker.transform.data_processing import DataProcessing
from tfsd.sagemaker.transform.errors import DataError
from tfsd.sagemaker.transform.payloads import Packing, Payload, StreamedPayload
from tfsd.sagemaker.transform.record_formats import Csv

lines = st.lists(st.text("abc,", min_size=1, max_size=9).map(str.encode), max_size=30)
ROWS = DataProcessing(Csv(), Csv(), jsonpath.parse("$[1:]"), jsonpath.parse("$"), True)


def pack(packing: Packing, data: bytes) -> list[Payload | StreamedPayload]:
    return list(packing.payloads(lambda: io.BytesIO(data)))


def sent(payload: Payload | StreamedPayload) -> bytes:
    body = payload.body()
    return body if isinstance(body, bytes) else b"".join(body)


@given(lines, st.integers(10, 60))
def test_many_records_in_a_payload(records: list[bytes], limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(payloads, "MEGABYTE", limit)
        packed = pack(Packing("Line", False, False, 1, None), b"\n".join(records))
    bodies = [sent(payload) for payload in packed]
    assert b"\n".join(bodies).split(b"\n") == (records or [b""])
    assert [payload.count for payload in packed] == [body.count(b"\n") + 1 for body in bodies]
    assert all(len(body) <= limit for body in bodies)
    for body, following in itertools.pairwise(bodies):
        assert len(body) + 1 + len(following.split(b"\n")[0]) > limit


@given(lines)
def test_one_record_a_payload(records: list[bytes]) -> None:
    packed = pack(Packing("Line", False, True, 6, None), b"\n".join(records) + b"\n")
    assert [sent(payload) for payload in packed] == records
    assert all(isinstance(payload.body(), bytes) for payload in packed)


@given(lines, st.booleans())
def test_a_stream_of_everything(records: list[bytes], compressed: bool) -> None:
    data = b"\n".join(records)
    stored = gzip.compress(data) if compressed else data
    (payload,) = pack(Packing("Line", compressed, False, 0, None), stored)
    for _ in range(2):  # another attempt sends the same
        assert sent(payload).split(b"\n") == (records or [b""])
        assert payload.count == len(records)
    assert list(payload.inputs()) == records
    (whole,) = pack(Packing("None", compressed, False, 0, None), stored)
    assert sent(whole) == data


def test_one_record_a_payload_without_a_limit_is_sent_chunked() -> None:
    packed = pack(Packing("Line", False, True, 0, None), b"a\nb")
    assert [sent(payload) for payload in packed] == [b"a", b"b"]
    assert not any(isinstance(payload.body(), bytes) for payload in packed)


def test_a_filter_sees_each_record_and_the_join_all_of_it() -> None:
    for packing in (Packing("Line", False, False, 6, ROWS), Packing("Line", False, False, 0, ROWS)):
        (payload,) = pack(packing, b"1,a,b\n2,c,d\n")
        assert sent(payload).splitlines() == [b"a,b", b"c,d"]
        assert list(payload.inputs()) == [b"1,a,b", b"2,c,d"]


def test_an_object_over_the_limit_is_refused() -> None:
    with pytest.raises(DataError, match="MaxPayloadInMB"):
        pack(Packing("None", False, False, 1, None), bytes(2**20 + 1))
    assert sent(pack(Packing("None", False, False, 1, None), bytes(2**20))[0]) == bytes(2**20)
