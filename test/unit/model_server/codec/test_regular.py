"""Rows that are all alike are read as one flat list; whatever is not plainly so is left to others."""

from __future__ import annotations

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.model_server.codec.parse import parse
from tfsd.model_server.codec.regular import named_scalars, plain_scalars
from tfsd.model_server.codec.structure import blank_strings
from tfsd.model_server.codec.values import dense_shape

SHAPES = st.lists(st.integers(1, 3), max_size=4).map(tuple)
EDITS = st.lists(st.tuples(st.integers(0, 200), st.sampled_from('[],1 -.e"{}:tN\x0e')), max_size=3)


def nested(shape: tuple[int, ...], start: int) -> object:
    if not shape:
        return start
    return [nested(shape[1:], start + index * math.prod(shape[1:])) for index in range(shape[0])]


def flat(value: object) -> list[object]:
    return [scalar for element in value for scalar in flat(element)] if isinstance(value, list) else [value]


def edited(text: str, edits: list[tuple[int, str]]) -> bytes:
    for at, letter in edits:
        text = text[: at % len(text)] + letter + text[at % len(text) :]
    return text.encode()


def plain(text: bytes, size: int, shape: tuple[int, ...]) -> list[object] | None:
    return plain_scalars(text, blank_strings(text), size, shape)


@given(shape=SHAPES.filter(bool), size=st.integers(1, 4), edits=EDITS, as_text=st.booleans())
def test_plain_rows(shape: tuple[int, ...], size: int, edits: list[tuple[int, str]], as_text: bool) -> None:
    rows = json.dumps([nested(shape, 7 * row) for row in range(size)])[1:-1]
    text = edited(re.sub(r"\b7\b", '"7,["', rows) if as_text else rows, edits)
    found = plain(text, size, shape)
    if not edits:
        assert found is not None
    if found is not None:
        values = parse(b"[" + text + b"]")
        assert all(dense_shape(value) == shape for value in values)
        assert found == flat(values)


@given(shapes=st.lists(SHAPES, min_size=1, max_size=3), size=st.integers(1, 4), edits=EDITS)
def test_named_rows(shapes: list[tuple[int, ...]], size: int, edits: list[tuple[int, str]]) -> None:
    named = dict(zip(["x", "", "a.b"], shapes, strict=False))
    rows = [{name: nested(shape, 7 * row) for name, shape in named.items()} for row in range(size)]
    text = edited(json.dumps(rows)[1:-1], edits)
    found = named_scalars(text, size, named)
    if not edits:
        assert found is not None
    if found is not None:
        values = parse(b"[" + text + b"]")
        assert found == [flat([value[name] for value in values]) for name in named]
        assert all(dense_shape(value[name]) == shape for value in values for name, shape in named.items())


@pytest.mark.parametrize(
    "rows",
    [
        "[1],[1,2]",
        "[1],1",
        "1,[2]",
        "[1],[]",
        "[1]5,[2]",
        "[1],[2],",
        "[1],5[2]",
        "[1],{}",
        "[1] [2]",
        "[1],[2",
    ],
)
def test_rows_that_are_not_all_of_the_shape(rows: str) -> None:
    assert plain(rows.encode(), 2, (1,)) is None


@pytest.mark.parametrize(
    ("rows", "expected"), [("[],[ ]", []), ("[],[1]", None), ("[]5,[]", None), ("[],[,]", None)]
)
def test_rows_without_values(rows: str, expected: list[object] | None) -> None:
    assert plain(rows.encode(), 2, (0,)) == expected


@pytest.mark.parametrize(
    "rows",
    [
        '{"x":1},{"y":1}',
        '{"x":1},{"x":1,"x":2}',
        '{"x":1},{"x":{"x":1}}',
        '{"x":{"x":1}},1',
        '{"x":1},{"x":"1"}',
        '{"x":1}2,{"x":}',
        '{5"x":1},{"x":1}',
        '{"x":1},{\x0e1}',
        '{"x":1},{"x" :1}',
        '{"x":1},{"\\u0078":1}',
        '{"x":1},{"x":1',
    ],
)
def test_rows_that_do_not_all_have_the_member(rows: str) -> None:
    assert named_scalars(rows.encode(), 2, {"x": ()}) is None


def test_a_shape_that_is_larger_than_the_text_costs_nothing() -> None:
    assert plain(b"[1],[1]", 2, (10**6,) * 9) is None


def test_members_without_values() -> None:
    text = b'{"x":[],"y":[[]]},{"x":[],"y":[[]]}'
    assert named_scalars(text, 2, {"x": (0,), "y": (1, 0)}) == [[], []]
