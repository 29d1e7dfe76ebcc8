from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.errors import BadRequest
from tfsd.worker.conversion import limits
from tfsd.worker.conversion.convert import convert_request

DEPTH, DIGITS = limits.MAX_DEPTH, limits.MAX_DIGITS


def nested(depth: int, inside: bytes = b"1", opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * depth + inside + closing * depth


@pytest.mark.parametrize(
    "text",
    [
        nested(DEPTH),
        nested(DEPTH, b"1", b'{"a":', b"}"),
        b"[" + b",".join([nested(DEPTH - 1)] * 50) + b"]",
        b"[" + b",".join([b"[]"] * 1000) + b"]",
        b'["' + b"[" * 1000 + b'"]',
        b'["\\"", "' + b"{" * 1000 + b'"]',
        b"[" + b"1" * DIGITS + b", 0." + b"2" * DIGITS + b"]",
        b'["' + b"1" * 10 * DIGITS + b'"]',
    ],
)
def test_at_the_limits(text: bytes) -> None:
    limits.check(text)


@pytest.mark.parametrize(
    "text",
    [
        nested(DEPTH + 1),
        nested(DEPTH + 1, b"1", b'{"]":', b"}"),
        nested(DEPTH + 1, b"1", b'["]",', b"]"),
        nested(DEPTH + 1, b"1", b"[[],", b",{}]"),
        b"[" + b",".join([nested(DEPTH)] * 50) + b"]",
        b'["\\"", "' + b"{" * 1000 + b'", ' + nested(DEPTH) + b"]",
        nested(100 * DEPTH),
    ],
)
def test_too_deep(text: bytes) -> None:
    with pytest.raises(BadRequest, match="nested deeper than 100"):
        limits.check(text)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"instances":[%s]}', "application/json"),
        (b"[-%s]", "application/json"),
        (b"%s", "application/json"),
        (b"[1]%s", "application/json"),
        (b'{"a":0.%s}\n{"a":1}\n', "application/jsonlines"),
        (b"1,%s\n", "text/csv"),
        (b"a,1e%s\n", "text/csv"),
    ],
)
@pytest.mark.parametrize("digits", [DIGITS + 1, 5000])
def test_a_number_of_too_many_digits_in_any_form(body: bytes, content_type: str, digits: int) -> None:
    with pytest.raises(BadRequest, match="more than 2000 digits"):
        convert_request(body.replace(b"%s", b"7" * digits), content_type)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


VALUES = st.recursive(
    st.none() | st.integers() | st.text('ab[]{}",\\', max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('a[}"\\', max_size=3), inner, max_size=3)
    ),
    max_leaves=40,
)


@given(VALUES, st.integers(0, 40))
def test_the_depth_is_that_of_the_value(value: Any, wraps: int) -> None:
    for _ in range(wraps):
        value = [value]
    text, found = json.dumps(value).encode(), depth(value)
    for limit in range(max(16, found - 12), max(18, found + 3)):
        assert limits.depth_exceeds(text, limit) == (found > limit)
