import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.local.comparison import diff, equal

TOLERANCE = 1e-5
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(DOCUMENTS)
def test_a_document_equals_itself_however_it_is_written(document: object) -> None:
    assert equal(json.dumps(document).encode(), json.dumps(document, indent=2).encode(), TOLERANCE)


@given(DOCUMENTS, DOCUMENTS)
def test_equality_goes_both_ways(a: object, b: object) -> None:
    first, second = json.dumps(a).encode(), json.dumps(b).encode()
    assert equal(first, second, TOLERANCE) == equal(second, first, TOLERANCE)


@given(st.floats(min_value=1e-300, max_value=1e300), st.booleans())
def test_numbers_may_differ_by_the_tolerance_and_no_more(value: float, negative: bool) -> None:
    value = -value if negative else value
    body = json.dumps({"predictions": [[value]]}).encode()
    assert equal(body, json.dumps({"predictions": [[value * (1 + 5e-6)]]}).encode(), TOLERANCE)
    assert not equal(body, json.dumps({"predictions": [[value * (1 + 3e-5)]]}).encode(), TOLERANCE)
    assert not equal(body, json.dumps({"predictions": [[-value]]}).encode(), TOLERANCE)


@given(st.binary(), st.binary())
def test_anything_can_be_compared_and_shown(expected: bytes, got: bytes) -> None:
    assert equal(expected, expected, TOLERANCE)
    if not equal(expected, got, TOLERANCE):
        diff(expected, got)


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        (b"[1]", b"[1.0]", True),
        (b"[NaN, Infinity]", b"[NaN, Infinity]\n", True),
        (b"[NaN]", b"[0]", False),
        (b"[true]", b"[1]", False),
        (b'["1"]', b"[1]", False),
        (b"[1, 2]", b"[1]", False),
        (b'{"a": 1}', b'{"b": 1}', False),
        (b'{"a": 1}\n{"a": 2}\n', b'{"a":1.000001}\n{"a":2}', True),
        ('["\u2028", 1]\n[1]'.encode(), '["\u2028", 1.0]\n[1]'.encode(), True),  # no end of a line in JSON
        (b"1,2\n", b"1,2.0\n", False),
        (b"[" + b"9" * 400 + b"]", b"[1.5]", False),
        (b"[" * 5000 + b"]" * 5000, b"[]", False),
        (b"\xff", b"\xfe", False),
    ],
)
def test_cases(expected: bytes, got: bytes, same: bool) -> None:
    assert equal(expected, got, TOLERANCE) == same


def test_a_difference_is_shown_in_lines() -> None:
    shown = diff(b'{"predictions": [1.0, 2.0]}', b'{"predictions": [1.0, 3.0]}').splitlines()
    assert shown[:2] == ["--- captured", "+++ answered"]
    assert [line for line in shown[3:] if line[0] in "+-"] == ["-  2.0", "+  3.0"]


def test_a_difference_of_bytes() -> None:
    assert diff(b"\xff\x00", b"\xff\x01\x02") == "2 bytes were captured, 3 came; they differ from byte 1 on"
