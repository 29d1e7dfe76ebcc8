"""The JSON reader: RapidJSON's grammar, messages and offsets."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.model_server.codec.parse import JsonObject, parse
from tfsd.model_server.errors import Code, ServingError

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_subnormal=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def plain(value: Any) -> Any:
    """A parsed value as the standard library would give it."""
    if isinstance(value, JsonObject):
        return {name.decode(): plain(member) for name, member in value.members}
    if isinstance(value, list):
        return [plain(element) for element in value]
    return value.decode() if isinstance(value, bytes) else value


@given(VALUES, st.booleans(), st.sampled_from((None, 1)))
def test_reads_what_the_standard_library_writes(value: Any, ascii_only: bool, indent: int | None) -> None:
    assert plain(parse(json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode())) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    refused = None
    try:
        parse(body)
    except ServingError as error:
        refused = error

    assert refused is None or refused.code is Code.INVALID_ARGUMENT
    assert refused is None or refused.message.startswith("JSON Parse error: ")


@pytest.mark.parametrize(
    ("body", "message", "offset"),
    [
        (b" \t", "The document is empty.", 2),
        (b"\0", "The document is empty.", 0),
        (b"nul]", "Invalid value.", 3),
        (b"[trux]", "Invalid value.", 4),
        (b"[Infinitx]", "Invalid value.", 8),
        (b"[Nan]", "Invalid value.", 3),
        (b"[+1]", "Invalid value.", 1),
        (b"[01]", "Missing a comma or ']' after an array element.", 2),
        (b"[1 2]", "Missing a comma or ']' after an array element.", 3),
        (b"[1", "Missing a comma or ']' after an array element.", 2),
        (b'{"a":1 "b":2}', "Missing a comma or '}' after an object member.", 7),
        (b'{"a":1', "Missing a comma or '}' after an object member.", 6),
        (b'{"a" 1}', "Missing a colon after a name of object member.", 5),
        (b'{"a":1,}', "Missing a name for object member.", 7),
        (b'["\\u12g4"]', "Incorrect hex digit after \\u escape in string.", 2),
        (b'["a\\ud800"]', "The surrogate pair in string is invalid.", 3),
        (b'["\\ud800\\u0041"]', "The surrogate pair in string is invalid.", 2),
        (b'["\\q"]', "Invalid escape character in string.", 2),
        (b'["\x01"]', "Invalid escape character in string.", 2),
        (b'["\0"]', "Missing a closing quotation mark in string.", 2),
        (b'["abc', "Missing a closing quotation mark in string.", 5),
        (b"[-1.]", "Miss fraction part in number.", 4),
        (b"[1.e5]", "Miss fraction part in number.", 3),
        (b"[1e+]", "Miss exponent in number.", 4),
        (b"[1.5e]", "Miss exponent in number.", 5),
        (b"[1,-1e309]", "Number too big to be stored in double.", 3),
        (b"[0e309]", "Number too big to be stored in double.", 1),
        (b"[" + b"9" * 400 + b"]", "Number too big to be stored in double.", 1),
        (b"[/* */1]", "Invalid value.", 1),
    ],
)
def test_says_what_is_wrong_and_where(body: bytes, message: str, offset: int) -> None:
    with pytest.raises(ServingError) as caught:
        parse(body)

    assert caught.value.message == f"JSON Parse error: {message} at offset: {offset}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"Inf", math.inf),
        (b"-Infinity", -math.inf),
        (b"-0", 0),
        (b"18446744073709551615", 2**64 - 1),
        (b"18446744073709551616", 2.0**64),
        (b"-9223372036854775809", -(2.0**63)),
        (b"1e-400", 0.0),
        (b"5e-324", 0.0),
    ],
)
def test_reads_numbers(text: bytes, value: float) -> None:
    number = parse(b"[" + text + b"]")[0]

    assert number == value
    assert type(number) is type(value)


def test_reads_what_the_real_server_tolerates() -> None:
    assert math.isnan(parse(b"[-NaN]")[0])
    assert parse(b"\xef\xbb\xbf[1] and more") == [1]
    assert parse(b'["\\ude00"]') == [b"\xed\xb8\x80"]
    assert parse(b'["\xff\\/\\ud83d\\ude00"]') == [b"\xff/\xf0\x9f\x98\x80"]


def test_finds_the_first_of_repeated_members() -> None:
    value = parse(b'{"a":1,"b":null,"a":2}')

    assert value.get(b"a") == 1
    assert value.find(b"b") == (b"b", None)
    assert value.find(b"c") is None


def test_depth_costs_no_stack() -> None:
    depth = 100_000
    value = parse(b"[" * depth + b"]" * depth)

    for _ in range(depth - 1):
        (value,) = value
    assert value == []
