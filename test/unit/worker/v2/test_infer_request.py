"""The protocol's requests and responses: what is written can be read, and nothing else is."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfsd.errors import BadRequest, HttpError, PayloadTooLarge
from tfsd.tensors.dtypes import BY_V2, DT_STRING
from tfsd.worker.conversion import limits
from tfsd.worker.v2 import infer_request
from tfsd.worker.v2.infer_request import InferRequest, parse
from tfsd.worker.v2.infer_response import JSON_LENGTH, render

NUMERIC = sorted(name for name, dtype in BY_V2.items() if dtype.number != DT_STRING)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


def arrays(datatype: str) -> st.SearchStrategy[Any]:
    """Arrays of the dtype, as they are in memory; bfloat16 is float32 of such values."""
    if datatype == "BYTES":
        return hnp.arrays(np.object_, SHAPES, elements=st.binary(max_size=9), fill=st.nothing())
    made = hnp.arrays(np.dtype(BY_V2[datatype].numpy), SHAPES)
    return (
        made.map(lambda array: (array.view("<u4") & 0xFFFF0000).view("<f4")) if datatype == "BF16" else made
    )


CASES = st.lists(
    st.sampled_from([*NUMERIC, "BYTES"]).flatmap(
        lambda datatype: st.tuples(st.just(datatype), arrays(datatype), st.booleans())
    ),
    min_size=1,
    max_size=5,
)


def same(left: Any, right: Any) -> bool:
    if left.shape != right.shape:
        return False
    if left.dtype == object:
        return list(left.ravel()) == list(right.ravel())
    return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=left.dtype.kind == "f")


@given(cases=CASES)
def test_what_a_response_says_a_request_can_say(cases: list[tuple[str, Any, bool]]) -> None:
    """A response's outputs, taken for inputs, are read as they were written."""
    outputs = {f"t{n}": (BY_V2[datatype], array) for n, (datatype, array, _) in enumerate(cases)}
    binary = {}
    for n, (datatype, array, wanted) in enumerate(cases):
        utf8 = datatype != "BYTES" or all(is_utf8(item) for item in array.ravel())
        nan = datatype == "BF16" and bool(np.isnan(array).any())  # the bits of a NaN are not kept
        binary[f"t{n}"] = (wanted and not nan) or not utf8
    headers, body = render({"model_name": "m"}, outputs, binary)
    length = dict(headers).get(JSON_LENGTH)
    assert (length is not None) == any(binary.values())
    size = len(body) if length is None else int(length)
    document = json.loads(body[:size])
    text = json.dumps({"inputs": document["outputs"]}).encode()

    read = parse(text + body[size:], None if length is None else str(len(text)))

    assert list(read.inputs) == list(outputs)
    for name, (dtype, array) in outputs.items():
        assert read.inputs[name].dtype is dtype
        assert same(read.inputs[name].array, array)


def is_utf8(item: bytes) -> bool:
    try:
        item.decode()
    except UnicodeDecodeError:
        return False
    return True


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "datatype", "shape", "data", "parameters", "x"]), inner)
    ),
)
ENTRIES = st.fixed_dictionaries(
    {"name": st.just("a") | JSON_VALUES, "datatype": st.sampled_from([*BY_V2]) | JSON_VALUES},
    optional={
        "shape": st.lists(st.integers(-1, 2**64), max_size=3) | JSON_VALUES,
        "data": st.lists(st.integers() | st.floats() | st.text(max_size=3), max_size=3) | JSON_VALUES,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 9) | JSON_VALUES})
        | JSON_VALUES,
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {"inputs": st.lists(ENTRIES, max_size=3) | JSON_VALUES},
    optional={"outputs": JSON_VALUES, "parameters": JSON_VALUES, "id": JSON_VALUES},
)


@given(
    document=DOCUMENTS,
    rest=st.binary(max_size=12),
    length=st.none() | st.integers(0, 99).map(str) | st.text(),
)
def test_whatever_comes_is_read_or_refused(document: Any, rest: bytes, length: str | None) -> None:
    text = json.dumps(document).encode()
    for header in (length, str(len(text))):
        try:
            found = parse(text + rest, header)
        except HttpError as error:
            if error.status not in (400, 413):
                raise
        else:
            assert isinstance(found, InferRequest)
            for tensor in found.inputs.values():
                assert tensor.array.size == math.prod(tensor.array.shape)


@given(body=st.binary(max_size=60))
def test_bytes_that_are_nothing_are_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse(body, None)


def request(**entry: Any) -> bytes:
    document = {"inputs": [{"name": "x", "datatype": "INT32", "shape": [2], **entry}]}
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"data": [1]}, "has 1 values; the shape [2] takes 2"),
        ({"data": [1.5, 2]}, "do not fit"),
        ({"data": [1, 2**31]}, "do not fit"),
        ({"data": [1, 2**70]}, "int32"),
        ({"datatype": "UINT64", "data": [0, -1]}, "do not fit"),
        ({"datatype": "BOOL", "data": [0, 2]}, "do not fit"),
        ({"data": ["1", "2"]}, "must be numbers"),
        ({"data": [1, "2"]}, "must be numbers"),
        ({"data": [1, None]}, "must be numbers"),
        ({"data": [[1], [2]]}, "has the shape [2], its data [2, 1]"),
        ({"data": [[1], 2]}, "same lengths"),
        ({"data": [[1], []]}, "same lengths"),
        ({"data": {"a": 1}}, "must be a list"),
        ({}, "neither data nor"),
        ({"datatype": "INT31", "data": [1, 2]}, "INT32, INT64"),
        ({"datatype": "BYTES", "data": ["a", 1]}, "must be text"),
        ({"datatype": "BYTES", "data": ["a", "\ud800"]}, "not JSON"),
        ({"shape": [-1], "data": [1]}, "from 0 on"),
        ({"shape": [True, 2], "data": [1, 2]}, "from 0 on"),
        ({"shape": [1] * 65, "data": [1]}, "65 dimensions"),
        ({"shape": [2**62, 2**62], "parameters": {"binary_data_size": 0}}, "no int32 tensor"),
        ({"parameters": {"binary_data_size": 1}}, "0 bytes are left"),
        ({"parameters": {"binary_data_size": 0}, "data": [1, 2]}, "one of them"),
        ({"parameters": {"binary_data_size": True}}, "binary_data_size of True"),
        ({"parameters": {"shared_memory_region": "r"}}, "shared memory"),
    ],
    ids=str,
)
def test_what_is_wrong_with_an_input_is_said(entry: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(request(**entry), None)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("UINT64", [0, 2**64 - 1]),
        ("INT64", [-(2**63), 2**63 - 1]),
        ("INT32", [1.0, 2]),
        ("BOOL", [True, 0]),
        ("FP64", [1, 2**53]),
        ("FP32", [1, 0.5]),
        ("UINT8", [True, 255]),
    ],
)
def test_numbers_are_exact(datatype: str, data: list[Any]) -> None:
    for sent in (data, [[data[0]], [data[1]]]):
        shape = [2] if sent is data else [2, 1]
        array = parse(request(datatype=datatype, shape=shape, data=sent), None).inputs["x"].array
        assert (array.ravel().tolist(), array.dtype) == (data, np.dtype(BY_V2[datatype].numpy))


@pytest.mark.parametrize(
    ("body", "length", "told"),
    [
        (request(data=[1, 2]) + b"xy", str(len(request(data=[1, 2]))), "2 bytes follow"),
        (request(data=[1, 2]), "9999", "9999"),
        (request(data=[1, 2]), "-1", "-1"),
        (request(data=[1, 2]), "٣", "Inference-Header-Content-Length"),
        (b"", "0", "not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, None, "nested deeper than 100"),
        (b"[" * 100_000 + b"NaN" + b"]" * 100_000, None, "nested deeper than 100"),
        (b'{"inputs": [NaN' + b"9" * 10_000 + b"]}", None, "more than 2000 digits"),
        (b'{"inputs": []}', None, "no inputs"),
        (b'{"inputs": [1]}', None, "inputs[0] must be an object"),
        (orjson.dumps({"inputs": [{}] * 1025}), None, "may have 1024"),
        (
            orjson.dumps({"inputs": [{"name": "x", "datatype": "INT8", "shape": [0], "data": []}] * 2}),
            None,
            "several",
        ),
        (request(data=[1, 2])[:-1] + b', "id": 7}', None, "id must be"),
        (
            request(data=[1, 2])[:-1] + b', "outputs": [{"name": "y", "parameters": {"classification": 1}}]}',
            None,
            "clas",
        ),
        (request(data=[1, 2])[:-1] + b', "parameters": {"binary_data_output": 1}}', None, "true or false"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_wrong_with_a_request_is_said(body: bytes, length: str | None, told: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(body, length)
    assert told in str(refused.value)


def test_binary_text_that_is_cut_short() -> None:
    text = request(datatype="BYTES", shape=[1], parameters={"binary_data_size": 6})
    for data in (b"\x03\0\0\0ab", b"\xff\xff\xff\xffab", b"\x01\0\0\0a\0"):
        with pytest.raises(BadRequest, match="cut short"):
            parse(text + data, str(len(text)))


def test_more_json_than_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    body = request(data=[1, 2])
    monkeypatch.setattr(infer_request, "MAX_JSON_BYTES", len(body) - 1)
    with pytest.raises(PayloadTooLarge, match="in binary"):
        parse(body, None)
    monkeypatch.setattr(infer_request, "MAX_JSON_BYTES", len(body))
    parse(body, None)


def test_as_much_json_as_is_read() -> None:
    body = request(data=[1, 2]).ljust(infer_request.MAX_JSON_BYTES)
    assert parse(body, None).inputs["x"].array.tolist() == [1, 2]
    with pytest.raises(PayloadTooLarge, match="67108865 bytes"):
        parse(body + b" ", None)


def test_as_many_tensors_and_dimensions_as_there_may_be() -> None:
    def body(tensors: int, rank: int = 1) -> bytes:
        entry = {"datatype": "INT32", "shape": [1] * rank, "data": [1]}
        return json.dumps({"inputs": [{"name": f"x{n}", **entry} for n in range(tensors)]}).encode()

    assert len(parse(body(infer_request.MAX_TENSORS), None).inputs) == 1024
    with pytest.raises(BadRequest, match="There are 1025 inputs"):
        parse(body(infer_request.MAX_TENSORS + 1), None)
    assert parse(body(1, infer_request.MAX_RANK), None).inputs["x0"].array.ndim == 64
    with pytest.raises(BadRequest, match="has 65 dimensions"):
        parse(body(1, infer_request.MAX_RANK + 1), None)


def deep(depth: int) -> bytes:
    return b"[" * depth + b"1" + b"]" * depth


@pytest.mark.parametrize("word", [b"1", b"NaN"])
@pytest.mark.parametrize("place", [b'"x"', b'{"binary_data_size": "x"}'], ids=["anywhere", "size"])
@pytest.mark.parametrize(
    ("value", "told"),
    [
        (deep(limits.MAX_DEPTH + 1), "nested deeper than 100"),
        (deep(1020), "nested deeper than 100"),
        (deep(100_000), "nested deeper than 100"),
        (b"1" * (limits.MAX_DIGITS + 1), "more than 2000 digits"),
        (b"1" * 5000, "more than 2000 digits"),
        (b"1" * limits.MAX_DIGITS, ""),
        (deep(limits.MAX_DEPTH - 4), ""),
    ],
    ids=["101 deep", "1020 deep", "100000 deep", "2001 digits", "5000 digits", "2000 digits", "100 deep"],
)
def test_json_beyond_the_limits_of_every_route(word: bytes, place: bytes, value: bytes, told: str) -> None:
    given = place.replace(b'"x"', value)
    body = request(data=[1, 2], parameters="y").replace(b'"y"', given).replace(b"[1, 2]", b"[1, %b]" % word)
    with pytest.raises(BadRequest, match=told):
        parse(body, None)


def test_one_long_text_does_not_make_all_others_long() -> None:
    """numpy would take four times the longest text's length for each element."""
    data = ["x" * 1_000_000, *["a"] * 100_000]
    with pytest.raises(BadRequest):
        parse(request(shape=[len(data)], data=data), None)
    read = parse(request(datatype="BYTES", shape=[len(data)], data=data), None)
    assert read.inputs["x"].array.dtype == object


def test_who_wants_what_in_binary() -> None:
    outputs = [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}]
    document = json.loads(request(data=[1, 2])) | {
        "outputs": outputs,
        "parameters": {"binary_data_output": True},
    }
    read = parse(json.dumps(document).encode(), None)
    assert (read.binary, read.outputs) == (True, {"a": True, "b": False})
