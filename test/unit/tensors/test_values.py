"""Arrays to TensorProtos and back, against TensorFlow's own conversion."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow.core.framework import tensor_pb2, types_pb2

from tfsd.errors import BadRequest
from tfsd.tensors import dtypes, values
from tfsd.tensors.dtypes import DT_BFLOAT16, DT_FLOAT, DT_STRING, DTYPES
from tfsd.tensors.values import NoArray

SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
NUMBERS = [number for number in DTYPES if number not in (DT_STRING, DT_BFLOAT16)]
TEXT = st.binary(max_size=3) | st.text(st.characters(codec="utf-8"), max_size=3)


def of_dtype(number: int) -> Any:
    return arrays.arrays(np.dtype(DTYPES[number].numpy), SHAPES).map(lambda array: (array, number))


@given(st.sampled_from(NUMBERS).flatmap(of_dtype))
def test_there_and_back(pair: tuple[Any, int]) -> None:
    array, number = pair
    tensor = values.to_tensor(values.cast(array, number, "x"), number)
    np.testing.assert_array_equal(tf.make_ndarray(tensor), array)
    np.testing.assert_array_equal(values.to_array(tensor), array)
    np.testing.assert_array_equal(values.to_array(tf.make_tensor_proto(array)), array)
    np.testing.assert_array_equal(
        values.from_content(values.content(array, number), number, array.shape), array
    )


@given(st.sampled_from(NUMBERS).flatmap(of_dtype))
def test_any_memory_order_and_byte_order(pair: tuple[Any, int]) -> None:
    array, number = pair
    for other in (
        np.asfortranarray(array),
        array.astype(array.dtype.newbyteorder(">")),
        np.repeat(array[None], 2, axis=0)[::2][0],
    ):
        assert bytes(values.content(values.cast(other, number, "x"), number)) == array.tobytes()


def test_content_is_the_arrays_own_memory() -> None:
    array = np.zeros((2, 3), np.float32)
    content = values.content(values.cast(array, DT_FLOAT, "x"), DT_FLOAT)
    array[1, 2] = 1
    assert bytes(content)[-4:] == np.float32(1).tobytes()


@given(arrays.arrays(np.float32, SHAPES, elements=st.floats(width=32)))
def test_bfloat16_is_rounded_as_everywhere(array: Any) -> None:
    tensor = values.to_tensor(values.cast(array, DT_BFLOAT16, "x"), DT_BFLOAT16)
    expected = array.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(tf.make_ndarray(tensor).astype(np.float32), expected.astype(np.float32))
    np.testing.assert_array_equal(values.to_array(tensor), expected.astype(np.float32))
    in_field = tf.make_tensor_proto(expected, tf.bfloat16)
    np.testing.assert_array_equal(values.to_array(in_field), expected.astype(np.float32))


@given(arrays.arrays(np.object_, SHAPES, elements=TEXT))
def test_text_there_and_back(array: Any) -> None:
    tensor = values.to_tensor(values.cast(array, DT_STRING, "x"), DT_STRING)
    expected = [item.encode() if isinstance(item, str) else item for item in array.ravel()]
    assert values.to_array(tensor).ravel().tolist() == expected
    assert tf.make_ndarray(tensor).shape == array.shape


@pytest.mark.parametrize(
    ("array", "number", "message"),
    [
        (np.array([1.5]), dtypes.DT_INT32, "Input 'x' expects int32; some values do not fit"),
        (np.array([-1]), dtypes.DT_UINT8, "some values do not fit"),
        (np.array([1j]), DT_FLOAT, "expects float32; the value is not numeric"),
        (np.array(["1"]), DT_FLOAT, "not numeric"),
        (np.array([1]), DT_STRING, "expects text, not 1"),
        (np.array(["\ud800"]), DT_STRING, "text that is not Unicode"),
        (np.array([1]), types_pb2.DT_RESOURCE, "DT_RESOURCE"),
        (np.array([1]), 4711, "4711"),
    ],
)
def test_what_a_dtype_cannot_hold(array: Any, number: int, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        values.cast(array, number, "x")


@pytest.mark.parametrize(
    ("array", "number"),
    [
        (np.array([1.0, 2.0]), dtypes.DT_INT32),
        (np.array([0, 255]), dtypes.DT_UINT8),
        (np.array([1e300]), DT_FLOAT),  # infinity, as it becomes when it comes as JSON
        (np.array([True]), DT_FLOAT),
    ],
)
def test_what_it_can(array: Any, number: int) -> None:
    with np.errstate(over="ignore"):
        expected = array.astype(DTYPES[number].numpy)
    np.testing.assert_array_equal(values.cast(array, number, "x"), expected)


def test_tensors_that_are_none() -> None:
    with pytest.raises(NoArray, match="DT_VARIANT has no counterpart"):
        values.to_array(tensor_pb2.TensorProto(dtype="DT_VARIANT"))
    with pytest.raises(NoArray, match="3 bytes are no float32 tensor of shape"):
        values.from_content(b"abc", DT_FLOAT, [1])
    with pytest.raises(NoArray, match="strings"):
        values.from_content(b"", DT_STRING, [0])
    short = tensor_pb2.TensorProto(dtype="DT_FLOAT", float_val=[1, 2])
    with pytest.raises(NoArray, match="2 values"):
        values.to_array(short)


def test_the_table_is_that_of_types_proto() -> None:
    for number, dtype in DTYPES.items():
        assert types_pb2.DataType.Name(number) == dtype.name
        assert tf.as_dtype(number).size == dtype.itemsize
        assert dtype.field in tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name
