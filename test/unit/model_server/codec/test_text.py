"""JSON text: numbers and quoted values as the real server writes them."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.model_server.codec.parse import MAX_DEPTH, parse
from tfsd.model_server.codec.text import decimals, error_body, grisu, quote, quoted_value

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (123456.7, b"123456.703"),
        (1 / 3, b"0.333333343"),
        (1e6, b"1e+06"),
        (1234567.0, b"1234567.0"),
        (-0.0, b"-0.0"),
        (3e-05, b"3e-05"),
        (0.1, b"0.1"),
        (float("inf"), b"Infinity"),
    ],
)
def test_a_float_has_six_digits_or_nine(value: float, text: bytes) -> None:
    single = struct.unpack("f", struct.pack("f", value))[0]

    assert decimals([single, 0.5], single=True) == [text, b"0.5"]


def test_a_double_has_six_digits_or_seventeen() -> None:
    values = [3.141592653589793, 2 / 3, float("nan"), float("-inf"), 0.25]
    texts = [b"3.1415926535897931", b"0.66666666666666663", b"NaN", b"-Infinity", b"0.25"]
    assert decimals(values, single=False) == texts


@given(FINITE)
def test_a_double_reads_back_as_itself(value: float) -> None:
    assert list(map(float, decimals([value], single=False))) == [value]
    assert float(grisu(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.0**64, b"18446744073709553000.0"),
        (1.25e10, b"12500000000.0"),
        (1e21, b"1e21"),
        (1e-7, b"1e-7"),
        (1.5e-7, b"1.5e-7"),
        (0.001, b"0.001"),
        (-1.5, b"-1.5"),
        (-0.0, b"-0.0"),
    ],
)
def test_a_double_in_a_message(value: float, text: bytes) -> None:
    assert grisu(value) == text


@given(st.text())
def test_a_string_reads_back_as_itself(text: str) -> None:
    assert json.loads(quote(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")) == text


def test_a_quoted_value_is_cut_after_the_token_that_is_too_much() -> None:
    long = "x" * 600

    assert quoted_value(parse(json.dumps([long, 1]).encode())) == f'["{long}"'
    assert quoted_value(parse(json.dumps(long).encode())) == f'"{long}"'
    assert len(quoted_value(list(range(1000)))) < 300


def test_nothing_follows_a_value_without_text() -> None:
    assert quoted_value(parse(b'{"a":[1,NaN,2]}')) == '{\n    "a": [1, '
    assert quoted_value(float("nan")) == ""


def test_depth_in_a_message_is_bounded() -> None:
    assert quoted_value(parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)).startswith("[[[[")


def test_an_error_keeps_bytes_that_are_no_utf8() -> None:
    message = b'bad \xff "name"\n'.decode("utf-8", "surrogateescape")

    assert error_body(message) == b'{\n    "error": "bad \xef\xbf\xbd \\"name\\"\\n"\n}'
