"""gzip bodies: whole, in several members, damaged, cut short and too large."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.errors import BadRequest, HttpError, PayloadTooLarge
from tfsd.worker.conversion.content_encoding import Inflater, decode

ONE = gzip.compress(b"1", mtime=0)  # the same for every process of a test run


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5), st.integers(0, 20))
def test_round_trip_of_any_members_with_padding(members: list[bytes], zeros: int) -> None:
    whole = b"".join(members)
    assert decode(b"".join(map(gzip.compress, members)) + b"\0" * zeros, "gzip", len(whole)) == whole


def test_a_body_of_many_pieces() -> None:
    whole = bytes(range(256)) * 4000
    body = b"".join(gzip.compress(whole[i : i + 1000], 0) for i in range(0, len(whole), 1000))
    assert decode(body, "gzip", len(whole)) == whole


@pytest.mark.parametrize("encoding", [None, "", "identity", "Identity , identity"])
def test_without_encoding_the_body_is_untouched(encoding: str | None) -> None:
    body = b"anything"
    assert decode(body, encoding, 1) is body


def test_every_cut_is_noticed() -> None:
    body = gzip.compress(b"1,2,3\n" * 10) + gzip.compress(b"4,5,6\n")
    whole_members = len(gzip.compress(b"1,2,3\n" * 10))
    for end in range(len(body)):
        if end != whole_members:
            with pytest.raises(BadRequest, match="cut short"):
                decode(body[:end], "gzip", 1000)


@pytest.mark.parametrize("body", [b"1,2,3", ONE + b"x", ONE[:-8] + b"\0" * 8])
def test_what_is_not_gzip_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match=r"not valid gzip|cut short"):
        decode(body, "gzip", 1000)


def test_growing_beyond_the_limit_is_refused_without_growing_there() -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    with pytest.raises(PayloadTooLarge, match="more than 5000 bytes") as refused:
        decode(bomb, "gzip", 5000)
    assert refused.value.status == 413
    assert len(decode(bomb, "gzip", 10_000_000)) == 10_000_000


def test_what_is_held_by_all_requests_together() -> None:
    inflater = Inflater(5000)
    large, small = gzip.compress(b"x" * 4000), gzip.compress(b"x" * 900)
    with inflater.decoded(large, "gzip") as first:
        assert len(first) == 4000
        with inflater.decoded(small, "gzip"), inflater.decoded(b"y" * 9000, None) as plain:
            assert len(plain) == 9000  # what a client sends as it is, is not counted
            with pytest.raises(HttpError, match="try again") as refused, inflater.decoded(large, "gzip"):
                pass
            assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
    with inflater.decoded(large, "gzip"):
        pass
    with (
        pytest.raises(PayloadTooLarge, match="SAGEMAKER_TFS_MAX_INFLATED_MB"),
        inflater.decoded(gzip.compress(b"x" * 5001), "gzip"),
    ):
        pass
