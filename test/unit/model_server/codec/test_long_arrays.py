"""A long body that is read in blocks means what it means when it is read at once."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.model_server.codec import codec, decode, examples, long_arrays, structure
from tfsd.model_server.codec.long_arrays import LONG_BYTES, LongArray, LongBody
from tfsd.model_server.codec.parse import MAX_DEPTH, parse
from tfsd.model_server.errors import ServingError

FLOAT, INT, STRING, BOOL = 1, 9, 7, 10
INPUTS = [{"x": FLOAT}, {"x": STRING}, {"x": BOOL}, {"x": INT, "y": FLOAT}, {"b64": STRING}]
LEAVES = ["1", "2", "2.5", "true", '"ab"', '"[1,{"', '"\\udc00"', "NaN", "-Inf", "null", '{"b64":"YQ=="}']
ODD = [
    "1",
    "{}",
    "null",
    '{"y":1}',
    '{"x\\u0000z":1}',
    '{"\\u0078":1}',
    '{"b64":"YQ"}',
    '{"x":1,"y":2}',
    '{"x":{"y":1}}',
]
BEFORE = st.sampled_from(["", '"signature_name":"a",', '"z":[[1],{"instances":2}],', ' "":"[",'])
BEHIND = st.sampled_from(["", ',"signature_name":"a"', ' , "z":{"a":[1,2,3,4,5,6,7,8]}'])
REPEATED = "a name is repeated in an object"
EDITS = st.lists(st.tuples(st.integers(0, 400), st.sampled_from('[],1 -."{}:tN\0')), max_size=2)
#: How many bytes are long, and how many are a block.
SIZES = st.sampled_from([(1, 1), (20, 8), (60, 30), (200, 50)])


@st.composite
def bodies(draw: st.DrawFn, key: str, around: str = "%s") -> bytes:
    """Rows that are alike but for one perhaps, under a key, and perhaps something wrong in the text."""
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    leaves = st.sampled_from(draw(st.lists(st.sampled_from(LEAVES), min_size=1, max_size=2)))
    names = draw(st.sampled_from([(), ("x",), ("x", "y"), ("y", "x"), ("b64",)]))

    def value(shape: list[int]) -> str:
        return "[" + ",".join(value(shape[1:]) for _ in range(shape[0])) + "]" if shape else draw(leaves)

    def row() -> str:
        return "{" + ",".join(f'"{name}":{value(shape)}' for name in names) + "}" if names else value(shape)

    found = [row() for _ in range(draw(st.integers(0, 12)))]
    if found and draw(st.sampled_from([False, True])):
        odd = [
            *ODD,
            value(shape[:-1]),
            value([*shape, 1]),
            f"[{value(shape)}]",
            f'{{"x":{value([1, *shape])}}}',
        ]
        found[draw(st.integers(0, len(found) - 1))] = draw(st.sampled_from(odd))
    array = "[" + draw(st.sampled_from([",", ", ", "\n,"])).join(found) + "]"
    text = f'{{{draw(BEFORE)}"{key}":{around % array}{draw(BEHIND)}}}'
    for at, letter in draw(EDITS):
        text = text[: at % len(text)] + letter + text[at % len(text) :]
    return text.encode()


def outcome(read: Callable[[], Any]) -> Any:
    """What is read, with arrays as lists and their types; or the error."""
    try:
        found = read()
    except ServingError as error:
        return str(error)
    return [
        {name: (array.dtype.str, array.shape, repr(array.tolist())) for name, array in part.items()}
        if isinstance(part, dict)
        else part
        for part in found
    ]


def read_in_blocks(read: Callable[[], Any], sizes: tuple[int, int]) -> Any:
    """The outcome of reading bodies of so few bytes as if they were long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "LONG_BYTES", sizes[0])
        patch.setattr(codec, "PLAIN_BYTES", 0)
        patch.setattr(long_arrays, "LONG_BYTES", sizes[0])
        patch.setattr(long_arrays, "BLOCK_BYTES", sizes[1])
        patch.setattr(structure, "WINDOW", sizes[1] // 2 + 1)
        patch.setattr(structure, "BLOCK", sizes[1] + 3)
        patch.setattr(structure, "_FEW_QUOTES", sizes[1] // 4)
        return outcome(read)


@given(
    body=bodies("instances")
    | bodies("inputs")
    | bodies("inputs", '{"x":%s}')
    | bodies("instances", '[{"x":%s}]'),
    inputs=st.sampled_from(INPUTS),
    sizes=SIZES,
)
def test_the_same_arrays_and_errors(body: bytes, inputs: dict[str, int], sizes: tuple[int, int]) -> None:
    in_blocks = read_in_blocks(lambda: codec.decode_predict(body, lambda _: inputs), sizes)
    if REPEATED not in in_blocks:  # a limit of long bodies
        assert in_blocks == outcome(lambda: decode.decode_predict(parse(body), lambda _: inputs))


@given(body=bodies("examples") | bodies("examples", '[{"x":%s}]'), sizes=SIZES)
def test_the_same_examples(body: bytes, sizes: tuple[int, int]) -> None:
    in_blocks = read_in_blocks(lambda: codec.decode_examples(body), sizes)
    if REPEATED not in in_blocks:
        assert in_blocks == outcome(lambda: examples.decode_examples(parse(body)))


def test_long_ones_are_read_in_blocks() -> None:
    body = LongBody.find(b'{"instances": [' + b"[1, 2]," * LONG_BYTES + b"[3]]}")
    assert body is not None
    array = body.value()["instances"]
    assert isinstance(array, LongArray)
    assert len(array) == LONG_BYTES + 1
    assert len(list(array.blocks())) > 2
    assert list(array) == [[1, 2]] * LONG_BYTES + [[3]]


def test_a_long_one_in_another_is_read_in_blocks_too() -> None:
    row = "[" + ",".join(["[1]"] * LONG_BYTES) + "]"
    _, _, arrays = codec.decode_predict(f'{{"instances": [{row}, {row}]}}'.encode(), lambda _: {"x": FLOAT})
    assert arrays["x"].shape == (2, LONG_BYTES, 1)


@pytest.mark.parametrize(
    "body",
    [
        '{"z": LONG, "instances": [1]}',
        '{"instances": [1], "z": LONG}',
        '{"instances": [1], "z": {"y": LONG}}',
        '{"instances": [1], "z": [{"y": LONG}]}',
        '{"inputs": {"x": 1, "y": LONG}}',
    ],
)
def test_a_long_one_that_nobody_wants_is_looked_at_too(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "PLAIN_BYTES", 0)

    def read(last: str) -> Any:
        text = body.replace("LONG", "[" + "1," * LONG_BYTES + last + "]")
        return outcome(lambda: codec.decode_predict(text.encode(), lambda _: {"x": FLOAT}))

    assert read("2")[0] == ""
    assert "JSON Parse error: Invalid value. at offset: " in read("x")
    assert "JSON Parse error: Number too big to be stored in double. at offset: " in read("1e999")


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH])
def test_what_is_too_deep_is_so_in_long_bodies_as_well(depth: int) -> None:
    body = b'{"instances":' + b"[" * depth + b"1" + b"]" * depth + b" " * LONG_BYTES + b"}"
    assert outcome(lambda: codec.decode_predict(body, lambda _: {"x": FLOAT})) == (
        "INVALID_ARGUMENT: tensor parsing error: x"
        if depth < MAX_DEPTH
        else f"INVALID_ARGUMENT: JSON Parse error: arrays and objects are nested more than {MAX_DEPTH} deep"
    )


@pytest.mark.parametrize("opening", ["[", '{"":'])
def test_as_deep_as_may_be_around_a_long_one(opening: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "PLAIN_BYTES", 0)
    depth = MAX_DEPTH - 2
    closing = {"[": "]"}.get(opening, "}")
    body = f'{{"instances":{opening * depth}[{"1," * LONG_BYTES}1]{closing * depth}}}'.encode()
    with pytest.raises(ServingError, match=r"tensor parsing error: x|Expecting 'instances' to be an list"):
        codec.decode_predict(body, lambda _: {"x": FLOAT})


@pytest.mark.parametrize(
    ("body", "at_once"),
    [
        ('{"instances": [%s1]}' % ("1.5," * LONG_BYTES), True),
        ('{"instances": [%s1, NaN]}' % ("1.5," * LONG_BYTES), False),
        ('{"instances": [%s[1.5]]}' % ("[1.5]," * LONG_BYTES), False),
        ('{"instances": [%s1]}' % ("1.5," * codec.PLAIN_BYTES), False),
    ],
    ids=["numbers", "NaN", "lists", "too many"],
)
def test_what_is_next_to_all_numbers_is_parsed_at_once(
    body: str, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def find(text: bytes) -> LongBody | None:
        found.append(text)
        return None

    monkeypatch.setattr(LongBody, "find", find)
    codec.decode_predict(body.encode(), lambda _: {"x": FLOAT})
    assert (not found) is at_once


def test_names_are_not_repeated_in_long_bodies() -> None:
    row, twice = '{"x": 1}', '{"x": 1, "x": 2}'
    body = json.dumps("x" * LONG_BYTES) + ": 1, " + json.dumps("instances") + f": [{row}, {twice}]"
    with pytest.raises(ServingError, match=REPEATED):
        codec.decode_predict(f"{{{body}}}".encode(), lambda _: {"x": FLOAT})


def test_the_collector_rests_while_a_long_body_is_read_and_works_again_after_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(codec, "PLAIN_BYTES", 0)
    body = b'{"instances": [1]' + b" " * LONG_BYTES + b"}"

    def inner(_: str) -> dict[str, int]:
        assert not gc.isenabled()
        return {"x": FLOAT}

    def outer(_: str) -> dict[str, int]:
        codec.decode_predict(body, inner)
        assert not gc.isenabled()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        codec.decode_predict(body, outer)
    assert gc.isenabled()
