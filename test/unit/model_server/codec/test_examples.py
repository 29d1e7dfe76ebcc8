"""Bodies of :classify and :regress become the `tf.Example`s that protobuf reads."""

from __future__ import annotations

import base64
import json
import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.example import example_pb2

from tfsd.model_server.codec.examples import MAX_CONTEXT, decode_examples
from tfsd.model_server.codec.parse import parse
from tfsd.model_server.errors import ServingError

FEATURES = st.dictionaries(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1)
    | st.lists(st.floats(width=32, allow_nan=False, allow_subnormal=False), min_size=1)
    | st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1),
    max_size=3,
)


def decoded(document: Any) -> list[dict[str, list[Any]]]:
    _, serialized = decode_examples(parse(json.dumps(document).encode()))
    examples = [example_pb2.Example.FromString(one) for one in serialized]
    return [{name: values(feature) for name, feature in one.features.feature.items()} for one in examples]


def values(feature: Any) -> list[Any]:
    kind = feature.WhichOneof("kind")
    return list(getattr(feature, kind).value) if kind else []


@given(st.lists(FEATURES, min_size=1, max_size=3))
def test_features_arrive_with_their_values(examples: list[dict[str, list[Any]]]) -> None:
    want = [
        {name: [v.encode() if isinstance(v, str) else v for v in listed] for name, listed in one.items()}
        for one in examples
    ]

    assert decoded({"examples": examples}) == want


KINDS = (
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 200),  # varints of one byte, and of two
    st.booleans(),
    st.floats(width=32, allow_nan=False, allow_subnormal=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary().map(lambda octets: {"b64": base64.b64encode(octets).decode()}),
)
VALUE = st.one_of(KINDS)
FEATURE = VALUE | VALUE.flatmap(lambda value: st.lists(st.just(value), max_size=40))
EXAMPLE = st.dictionaries(st.sampled_from(["a", "b", "c", "é"]), FEATURE)
#: What one feature has in all examples.
COLUMN = st.sampled_from([*KINDS, *(st.lists(kind, max_size=3) for kind in KINDS)])
#: Examples that have the same features, but for the last one at times.
ALIKE = st.builds(
    operator.add,
    st.dictionaries(st.sampled_from(["a", "b", "é"]), COLUMN, min_size=1).flatmap(
        lambda columns: st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=8)
    ),
    st.lists(EXAMPLE, max_size=1),
)


def _held(content: Any) -> list[Any]:
    """The values of a feature that was made of this."""
    listed = content if isinstance(content, list) else [content]
    return [
        base64.b64decode(value["b64"])
        if isinstance(value, dict)
        else value.encode()
        if isinstance(value, str)
        else value
        for value in listed
    ]


@given(context=st.none() | EXAMPLE, examples=st.lists(EXAMPLE, min_size=1) | ALIKE)
def test_examples_of_all_kinds_beside_each_other(
    context: dict[str, Any] | None, examples: list[dict[str, Any]]
) -> None:
    document = {"examples": examples} | ({} if context is None else {"context": context})

    assert decoded(document) == [
        {name: _held(content) for name, content in ((context or {}) | example).items()}
        for example in examples
    ]


def test_of_a_name_given_twice_the_last_one_counts() -> None:
    body = rb'{"examples": [{"x": 1, "y": "a", "x": 2.5}, {"y": 3, "x\u0000": 4, "x": 5}, {"x\u0000z": 6}]}'
    examples = [example_pb2.Example.FromString(one) for one in decode_examples(parse(body))[1]]
    features = [{name: values(feature) for name, feature in one.features.feature.items()} for one in examples]

    assert features == [{"x": [2.5], "y": [b"a"]}, {"x": [5], "y": [3]}, {"x": [6]}]


def test_what_is_wrong_first_is_told() -> None:
    right: dict[str, Any] = {"a": 1, "b": [True, 2], "c": []}
    for examples, message in (
        (
            [right, {"b": 1, "a": None}, {"a": [1, "x"]}],
            "Feature: a has element with unexpected JSON type: Null",
        ),
        (
            [right, {"c": [2, 1.5], "b": {"b64": "!"}}, 5],
            "Unexpected element type in feature: c expecting type: int64",
        ),
        ([right, {"c": [], "b": [{"b64": "YQ"}, {"b64": "!"}]}, 5], "Unable to base64 decode"),
        ([right, 5, {"a": None}], "Example must be JSON object but got JSON Number"),
    ):
        with pytest.raises(ServingError) as caught:
            decoded({"examples": examples})
        assert caught.value.message == message


def test_whole_numbers_beyond_uint64_are_floats() -> None:
    assert decoded({"examples": [{"x": 2**64}, {"x": [1.5, -(2**64)]}]}) == [
        {"x": [float(2**64)]},
        {"x": [1.5, -float(2**64)]},
    ]


def test_forms_of_a_value() -> None:
    example = {"one": 1.5, "true": True, "bytes": {"b64": "/w"}, "none": [], "high": 1e39}

    (features,) = decoded({"examples": [example]})

    assert features == {"one": [1.5], "true": [1], "bytes": [b"\xff"], "none": [], "high": [float("inf")]}


def test_the_context_is_under_each_example() -> None:
    document = {"context": {"a": 1, "b": 2}, "examples": [{"b": 3}, {}]}

    assert decoded(document) == [{"a": [1], "b": [3]}, {"a": [1], "b": [2]}]


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ({"x": [1.5, "a"]}, "Unexpected element type in feature: x expecting type: float"),
        ({"x": [1, 2.5]}, "Unexpected element type in feature: x expecting type: int64"),
        ({"x": ["a", True]}, "Unexpected element type in feature: x expecting type: bytes"),
        ({"x": None}, "Feature: x has element with unexpected JSON type: Null"),
        ({"x": [[1]]}, "Feature: x has element with unexpected JSON type: Array"),
        ({"x": {"b64": 1}}, "Feature: x has element with unexpected JSON type: Object"),
        ({"x": {"b64": "!"}}, "Unable to base64 decode"),
        ({"x": 2**63}, "Feature: x has uint64_t element. Only int64_t is supported."),
        (True, "Example must be JSON object but got JSON True"),
        ("a", "Example must be JSON object but got JSON String"),
    ],
)
def test_says_what_an_example_cannot_hold(example: Any, message: str) -> None:
    with pytest.raises(ServingError) as caught:
        decoded({"examples": [example]})

    assert caught.value.message == message


@pytest.mark.parametrize(("fits", "size"), [(True, -64), (False, 64)])
def test_the_context_in_all_examples_has_a_limit(fits: bool, size: int) -> None:
    document = {"context": {"a": "x" * ((MAX_CONTEXT >> 10) + size)}, "examples": [{}] * (1 << 10)}
    if fits:
        assert len(decode_examples(parse(json.dumps(document).encode()))[1]) == 1 << 10
        return
    with pytest.raises(ServingError, match="bytes in each of 1024 examples, together more than 67108864"):
        decoded(document)


def test_the_context_may_take_its_limit_to_the_byte() -> None:
    def body(text: int, examples: int) -> Any:
        return parse(json.dumps({"context": {"a": "x" * text}, "examples": [{}] * examples}).encode())

    examples = 1 << 10
    size = MAX_CONTEXT // examples
    around = len(decode_examples(body(size - 100, 1))[1][0]) - (size - 100)
    head = 4  # of the features of an example: a tag, and a length of three bytes
    text = size - (around - head)
    assert {len(example) for example in decode_examples(body(text, examples))[1]} == {size + head}
    with pytest.raises(ServingError, match=f"takes {size + 1} bytes"):
        decode_examples(body(text + 1, examples))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=33))
def test_many_integers_arrive(numbers: list[int]) -> None:
    assert decoded({"examples": [{"x": numbers}]}) == [{"x": numbers}]


def test_says_that_examples_are_no_list() -> None:
    with pytest.raises(ServingError, match="Expecting 'examples' value to be an list/array"):
        decoded({"examples": {}})
