"""The JSON reader: RapidJSON's grammar, messages and offsets."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.model_server.codec import parse as parse_module
from tfsd.model_server.codec.octets import encode
from tfsd.model_server.codec.parse import (
    MAX_DEPTH,
    MAX_REPEATED,
    find,
    is_object,
    members_of,
    parse,
)
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
    if is_object(value):
        return {name: plain(member) for name, member in members_of(value)}
    return [plain(element) for element in value] if isinstance(value, list) else value


def written_array(elements: list[str]) -> str:
    return f"[{','.join(elements)}]"


def members(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Objects as text, names repeated at will."""
    pairs = st.tuples(st.sampled_from("abc"), inner).map(lambda pair: f'"{pair[0]}":{pair[1]}')
    return st.lists(pairs, max_size=4).map(lambda given: f"{{{','.join(given)}}}")


def in_order(value: Any) -> Any:
    """A value whose objects are all tuples of members."""
    if is_object(value):
        return tuple((name, in_order(member)) for name, member in members_of(value))
    return [in_order(element) for element in value] if isinstance(value, list) else value


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
        (b"[-" + b"9" * 5000 + b"]", "Number too big to be stored in double.", 1),
        (b"1.", "Miss fraction part in number.", 2),
        (b"Infi", "Invalid value.", 4),
        (b"[/* */1]", "Invalid value.", 1),
    ],
)
def test_says_what_is_wrong_and_where(body: bytes, message: str, offset: int) -> None:
    with pytest.raises(ServingError) as caught:
        parse(body)

    assert caught.value.message == f"JSON Parse error: {message} at offset: {offset}"


@pytest.mark.parametrize(
    "before",
    [b"[1,", b'["a\\"[{",', b"[[{},[]],", b'["\xff\xc3\xa9",', b'[{"a":[Inf,-NaN]},', b"[1e30,0e300,"],
)
@pytest.mark.parametrize(
    ("wrong", "message", "at"),
    [
        (b"nul]", "Invalid value.", 3),
        (b"1 2]", "Missing a comma or ']' after an array element.", 2),
        (b'{"a":1 "b":2}', "Missing a comma or '}' after an object member.", 7),
        (b'{"a":1,}', "Missing a name for object member.", 7),
        (b'"a\\ud800", "\\u12g4"]', "The surrogate pair in string is invalid.", 2),
        (b'"\\n\\\\\\q"]', "Invalid escape character in string.", 5),
        (b"1.e5]", "Miss fraction part in number.", 2),
        (b"0, 1e309, 2e309]", "Number too big to be stored in double.", 3),
        (b"0, " + b"9" * 5000 + b", 1e309]", "Number too big to be stored in double.", 3),
    ],
)
def test_says_what_is_wrong_wherever_it_is(before: bytes, wrong: bytes, message: str, at: int) -> None:
    with pytest.raises(ServingError) as caught:
        parse(before * 3 + wrong)

    assert caught.value.message == f"JSON Parse error: {message} at offset: {len(before) * 3 + at}"


def test_what_follows_the_first_value_is_not_looked_at() -> None:
    assert parse(b'[1] 1e999 "\\ud800 ' + b"9" * 5000) == [1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"Inf", math.inf),
        (b"-Infinity", -math.inf),
        (b"-0", 0),
        (b"18446744073709551615", 2**64 - 1),
        (b"18446744073709551616", 2.0**64),
        (b"1" + b"0" * 308, 1e308),
        (b"0." + b"0" * 5000 + b"1e5001", 1.0),
        (b"1e-400", 0.0),
    ],
)
def test_reads_numbers(text: bytes, value: float) -> None:
    number = parse(b"[" + text + b"]")[0]

    assert number == value
    assert type(number) is type(value)


def test_reads_what_the_real_server_tolerates() -> None:
    assert math.isnan(parse(b"[-NaN]")[0])
    assert parse(b"\xef\xbb\xbf[1] and more") == [1]
    assert parse(b"[-Inf, Inf, NaN, Infinity]")[:2] == [-math.inf, math.inf]


@pytest.mark.parametrize(
    ("string", "octets"),
    [
        (b"\\ude00", b"\xed\xb8\x80"),
        (b"\\udc80", b"\xed\xb2\x80"),
        (b"\xff\\/\\ud83d\\ude00", b"\xff/\xf0\x9f\x98\x80"),
        (b"\xc3\xa9\\u00e9\xe9", b"\xc3\xa9\xc3\xa9\xe9"),
        (b"\xff\\udc80\x80", b"\xff\xed\xb2\x80\x80"),
    ],
)
def test_a_string_stands_for_its_bytes(string: bytes, octets: bytes) -> None:
    assert encode(parse(b'["' + string + b'"]')[0]) == octets


@given(st.binary())
def test_bytes_that_are_no_utf8_go_through(octets: bytes) -> None:
    octets = bytes(byte for byte in octets if byte >= 0x20 and byte not in b'"\\')

    assert encode(parse(b'["' + octets + b'"]')[0]) == octets


def test_finds_the_first_of_repeated_members() -> None:
    value = parse(b'{"a":1,"b":null,"a":2,"\\u00e9":3}')

    assert find(value, "a") == ("a", 1)
    assert find(value, "b") == ("b", None)
    assert find(value, "c") is None
    assert find(value, "é") == ("é", 3)
    assert find(parse('{"\\u00e9":3,"é":4,"b":"\\u00ff"}'.encode() + b"\xff"), "é") == ("é", 3)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_has_a_limit(opening: str, closing: str) -> None:
    def nested(depth: int) -> bytes:
        return (opening * depth + "1" + closing * depth + '"' + opening * MAX_DEPTH).encode()

    value = parse(nested(MAX_DEPTH))
    for _ in range(MAX_DEPTH):
        value = value[0] if isinstance(value, list) else dict(value)["a"]
    assert value == 1

    with pytest.raises(
        ServingError, match="JSON Parse error: arrays and objects are nested more than 1024 deep"
    ):
        parse(nested(MAX_DEPTH + 1))


def python_calls(function: Callable[[], Any]) -> int:
    """How many Python functions are called."""
    count = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        function()
    except ServingError:
        pass
    finally:
        sys.setprofile(None)
    return count


MANY = 10_000
BODIES = {
    "numbers": b"[" + b"1.5," * MANY + b"1]",
    "lists": b"[" + b"[]," * MANY + b"1]",
    "strings": b"[" + b'"a\\u00e9",' * MANY + b"1]",
    "cut short": b"[" + b"[1.5]," * MANY,
    "wrong at the end": b"[" + b'{"a":[]},' * MANY + b"nul]",
    "an escape that is wrong": b'["' + b"\\n" * MANY + b'\\q"]',
    "a number that is too big": b"[" + b"15," * MANY + b"1e309]",
    "not UTF-8": b'["' + b"\xffa" * MANY + b'"]',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_no_body_is_read_value_by_value(body: bytes) -> None:
    assert python_calls(lambda: parse(body)) < MANY / 10


ROWS, TWICE = (",".join([row] * 5000) for row in ('{"x":1}', '{"x":1,"x":2}'))


@pytest.mark.parametrize(
    ("body", "fast", "slow"),
    [
        pytest.param('{"instances":[ROWS]}', 1, 0, id="plain"),
        pytest.param('{"instances":[ROWS,{"\\u0078":1}]}', 1, 0, id="an-escape"),
        pytest.param('{"instances":["a: {b}",ROWS]}', 1, 0, id="marks-in-a-string"),
        pytest.param('{"instances":[ROWS,{"x":1,"x":2}]}', 1, 0, id="a-name-twice"),
        pytest.param('{"instances":[ROWS,{"x":NaN,"x":2}]}', 0, 1, id="nan-and-a-name-twice"),
        pytest.param('{"inputs":{"y":[1],"x":[ROWS,{"x":{"y":[],"y":2}}]}}', 1, 0, id="a-name-twice-deep"),
        pytest.param('{"instances":[ROWS],"a":1,"a":2}', 1, 0, id="a-name-of-the-body-twice"),
        pytest.param('{"instances":[TWICE]}', 1, 0, id="names-twice"),
        pytest.param('{"instances":[ROWS,{"x":NaN}]}', 0, 1, id="nan"),
        pytest.param('{"instances":[ROWS,{"x":1e400}]}', 0, 1, id="too-big"),
        pytest.param('{"instances":[ROWS', 0, 0, id="cut-short"),
    ],
)
def test_no_body_is_read_more_than_once_by_each(
    monkeypatch: pytest.MonkeyPatch, body: str, fast: float, slow: float
) -> None:
    body = body.replace("ROWS", ROWS).replace("TWICE", TWICE)
    read: dict[str, int] = {"fast": 0, "slow": 0}

    def counted(which: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(text: bytes, **more: object) -> Any:
            value = function(text, **more)
            read[which] += len(text)  # a look at a text that makes no values is cheap
            return value

        return call

    monkeypatch.setattr("tfsd.model_server.codec.parse.orjson.loads", counted("fast", orjson.loads))
    monkeypatch.setattr("tfsd.model_server.codec.parse._read", counted("slow", parse_module._read))
    with contextlib.suppress(ServingError):
        parse(body.encode())

    assert read["fast"] <= fast * len(body)
    assert read["slow"] <= slow * len(body)


@pytest.mark.parametrize("last", ["1", "NaN"])
def test_names_are_repeated_in_short_bodies_only(last: str) -> None:
    body = f'{{"instances":[{{"x":1,"x":2}},{last}'.encode()
    padding = b" " * (MAX_REPEATED - len(body) - 2)

    assert parse(body + padding + b"]}")["instances"][0] == (("x", 1), ("x", 2))
    with pytest.raises(
        ServingError, match="a name is repeated in an object, in a body of more than 16384 bytes"
    ):
        parse(body + padding + b" ]}")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"a":1,"b":2,"a":3}', (("a", 1), ("b", 2), ("a", 3))),
        ('{"a":[{"b":1,"b":2},{"b":3}]}', {"a": [(("b", 1), ("b", 2)), {"b": 3}]}),
        ('[[{"a":{}}],[{"a":[],"a":{"c":1}},1]]', [[{"a": {}}], [(("a", []), ("a", (("c", 1),))), 1]]),
        ('{"a":"x:{","b":{"c":1,"c":":"},"d":[0]}', {"a": "x:{", "b": (("c", 1), ("c", ":")), "d": [0]}),
    ],
)
def test_repeated_names_are_kept_where_they_are(body: str, expected: Any) -> None:
    assert in_order(parse(body.encode())) == in_order(expected)


@given(
    st.recursive(
        st.just("1"), lambda inner: st.lists(inner).map(written_array) | members(inner), max_leaves=30
    )
)
def test_whatever_name_is_repeated_all_members_are_kept(body: str) -> None:
    assert in_order(parse(f"[{body}]".encode())) == in_order(json.loads(f"[{body}]", object_pairs_hook=tuple))
