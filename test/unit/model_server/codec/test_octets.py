"""Strings to bytes: many at a time as each by itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.model_server.codec.octets import decode, encode, encode_all

#: Bytes that are no UTF-8 (U+D880 to U+D8FF), lone low surrogates, and characters of each size and beside those.
CHARACTERS = st.sampled_from("a\0\x7f\x80\u07ff\u0800\ue880\ue8ff\uffff\U0001f600\ud880\ud8ff\udc00\udfff")


def one(character: str) -> bytes:
    """What a character of a body stands for."""
    raw = 0xD880 <= ord(character) <= 0xD8FF
    return bytes([ord(character) & 0xFF]) if raw else character.encode("utf-8", "surrogatepass")


@given(st.lists(st.text(CHARACTERS)))
def test_strings_stand_for_the_bytes_of_their_characters(strings: list[str]) -> None:
    expected = [b"".join(map(one, string)) for string in strings]

    assert encode_all(strings) == expected
    assert list(map(encode, strings)) == expected


@pytest.mark.parametrize("size", [16383, 16384, 16385, 40000])
def test_long_strings_as_well(size: int) -> None:
    assert encode_all(["\ud8ffé" * size, "", "\udc80"]) == [b"\xff\xc3\xa9" * size, b"", b"\xed\xb2\x80"]


@given(st.binary())
def test_any_bytes_come_back(body: bytes) -> None:
    assert encode(decode(body)) == body
