"""Arrays as the REST API's documents, and back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfsd.tensors import documents
from tfsd.tensors.dtypes import DT_BOOL, DT_DOUBLE, DT_FLOAT, DT_HALF, DT_INT64, DT_STRING, DT_UINT8, DTYPES
from tfsd.tensors.values import NoArray

SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=3)
NUMERIC = [DT_FLOAT, DT_DOUBLE, DT_HALF, DT_INT64, DT_UINT8, DT_BOOL]


def an_array(number: int, shape: Any = SHAPES) -> Any:
    if number == DT_STRING:
        return arrays.arrays(np.object_, shape, elements=st.binary(max_size=4))
    return arrays.arrays(np.dtype(DTYPES[number].numpy), shape)


@given(st.sampled_from([*NUMERIC, DT_STRING]).flatmap(lambda n: st.tuples(st.just(n), an_array(n))))
def test_one_output_there_and_back(pair: tuple[int, Any]) -> None:
    number, array = pair
    document = documents.to_document({"y": array})
    found = documents.from_document(document, {"y": number})
    np.testing.assert_array_equal(found["y"], array)
    assert found["y"].dtype == array.dtype


@given(
    st.sampled_from([*NUMERIC, DT_STRING]).flatmap(lambda n: st.tuples(st.just(n), an_array(n, (2, 3)))),
    arrays.arrays(np.float32, (2,)),
)
def test_several_outputs_there_and_back(pair: tuple[int, Any], other: Any) -> None:
    number, array = pair
    document = documents.to_document({"a_bytes": array, "b": other})
    found = documents.from_document(document, {"a_bytes": number, "b": DT_FLOAT})
    np.testing.assert_array_equal(found["a_bytes"], array)
    np.testing.assert_array_equal(found["b"], other)


@pytest.mark.parametrize(
    ("outputs", "document"),
    [
        ({"y": np.array([0.1, 2], np.float32)}, {"predictions": [0.1, 2.0]}),
        ({"y": np.float32(3)}, {"outputs": 3.0}),
        (
            {"a": np.array([1, 2]), "b": np.array([[3], [4]])},
            {"predictions": [{"a": 1, "b": [3]}, {"a": 2, "b": [4]}]},
        ),
        ({"a": np.array([1, 2]), "b": np.array([3])}, {"outputs": {"a": [1, 2], "b": [3]}}),
        ({"a": np.array([1]), "b": np.array(3)}, {"outputs": {"a": [1], "b": 3}}),
        ({"y": np.array([b"\xc3\xbc"], np.object_)}, {"predictions": ["ü"]}),
        ({"y_bytes": np.array([b"a"], np.object_)}, {"predictions": [{"b64": "YQ=="}]}),
        ({"y": np.array([np.inf], np.float32)}, {"predictions": [np.inf]}),
        ({"y": np.zeros((0, 2), np.float32)}, {"predictions": []}),
    ],
)
def test_forms(outputs: dict[str, Any], document: Any) -> None:
    assert json.loads(documents.to_document(outputs)) == document


def test_bytes_that_are_no_text_are_kept() -> None:
    document = documents.to_document({"y": np.array([b"\xff"], np.object_)})
    assert document == b'{"predictions": ["\xff"]}'
    assert documents.from_document(document, {})["outputs"].tolist() == [b"\xff"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"predictions": [[1], [1, 2]]}',
        b'{"predictions": [["a"], ["b", ["c"]]]}',
        b'{"predictions": [1, "a"]}',
        b'{"predictions": [null]}',
        b'{"results": [[["label", 0.5]]]}',
        b'{"predictions": [{"b64": "?"}]}',
        b'{"predictions": [{"a": 1}, {"b": 1}]}',
    ],
)
def test_what_is_no_tensor_says_so(body: bytes) -> None:
    with pytest.raises(NoArray):
        documents.from_document(body, {})


def test_complex_numbers_are_no_json() -> None:
    with pytest.raises(NoArray, match="complex"):
        documents.to_document({"y": np.array([1j])})
