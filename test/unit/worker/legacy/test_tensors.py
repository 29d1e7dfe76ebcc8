"""TensorProtos from values and back, against numpy and TensorFlow's own conversion."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow.core.framework import tensor_pb2, types_pb2

from tfsd.errors import BadRequest
from tfsd.tensors.dtypes import DTYPES
from tfsd.tensors.values import to_array
from tfsd.worker.legacy import tensors
from tfsd.worker.legacy.tensors import ShapeMismatch, fitted, to_tensor, with_fitted_shape

NUMERIC: list[tuple[int, Any]] = [
    (number, np.dtype(dtype.numpy))
    for number, dtype in DTYPES.items()
    if number not in (types_pb2.DT_STRING, types_pb2.DT_BFLOAT16)
]
SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


@given(st.sampled_from(NUMERIC).flatmap(lambda pair: arrays.arrays(pair[1], SHAPES)))
def test_numbers_there_and_back(array: Any) -> None:
    dtype = tf.as_dtype(array.dtype).as_datatype_enum
    tensor = to_tensor(array, dtype, None, "x")
    np.testing.assert_array_equal(tf.make_ndarray(tensor), array)
    np.testing.assert_array_equal(to_array(tensor), array)
    np.testing.assert_array_equal(to_array(tf.make_tensor_proto(array)), array)


@given(arrays.arrays(np.object_, SHAPES, elements=st.one_of(st.binary(max_size=3), st.text(max_size=3))))
def test_text_there_and_back(array: Any) -> None:
    tensor = to_tensor(array.tolist() if array.size else array, types_pb2.DT_STRING, None, "x")
    encoded = [item.encode() if isinstance(item, str) else item for item in array.ravel()]
    assert to_array(tensor).ravel().tolist() == encoded
    assert to_array(tensor).shape == array.shape


@given(arrays.arrays(np.float32, SHAPES, elements=st.floats(width=32, allow_nan=False)))
def test_json_becomes_what_numpy_makes_of_it(array: Any) -> None:
    value = json.loads(json.dumps(array.tolist()))
    np.testing.assert_array_equal(
        to_array(to_tensor(value, types_pb2.DT_FLOAT, None, "x")), np.array(value, "f")
    )


@given(st.lists(st.integers(-(2**70), 2**70), max_size=4), st.sampled_from(NUMERIC))
def test_an_integer_is_kept_or_refused(value: list[Any], pair: tuple[Any, ...]) -> None:
    dtype, kind = pair
    try:
        array = to_array(to_tensor(value, dtype, None, "x"))
    except BadRequest:
        limits = np.iinfo(kind) if kind.kind in "iu" else None
        assert limits is None or any(not limits.min <= item <= limits.max for item in value)
    else:
        if kind.kind in "iub":
            assert [int(item) for item in array] == value


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([1.5], types_pb2.DT_INT32),
        ([float("nan")], types_pb2.DT_INT64),
        ([300], types_pb2.DT_UINT8),
        ([-1], types_pb2.DT_UINT64),
        ([2**40], types_pb2.DT_INT32),
        (["1"], types_pb2.DT_FLOAT),
        ([None], types_pb2.DT_FLOAT),
        ([{}], types_pb2.DT_FLOAT),
        ([2], types_pb2.DT_BOOL),
        ([1j], types_pb2.DT_FLOAT),
        ([1], types_pb2.DT_STRING),
        ([None], types_pb2.DT_STRING),
        ([1], types_pb2.DT_QINT8),
        ([1], types_pb2.DT_RESOURCE),
    ],
)
def test_values_that_a_dtype_cannot_hold(value: list[Any], dtype: int) -> None:
    with pytest.raises(BadRequest, match="'pixels'"):
        to_tensor(value, dtype, None, "pixels")


NUMBER = st.floats() | st.integers(-9, 9) | st.booleans()


@given(
    st.lists(st.floats(), max_size=60)
    | st.lists(st.lists(st.floats(), min_size=2, max_size=2), max_size=30)
    | st.lists(NUMBER | st.lists(NUMBER, max_size=3), max_size=5)
)
def test_a_short_list_becomes_what_its_array_becomes(value: list[Any]) -> None:
    try:
        array = np.asarray(value)
    except ValueError:
        with pytest.raises(ShapeMismatch):
            to_tensor(value, types_pb2.DT_FLOAT, None, "x")
        return
    made, expected = (to_tensor(item, types_pb2.DT_FLOAT, None, "x") for item in (value, array))
    np.testing.assert_array_equal(to_array(made), to_array(expected), strict=True)


@pytest.mark.parametrize("dtype", [types_pb2.DT_FLOAT, types_pb2.DT_STRING])
@pytest.mark.parametrize("value", [[["a"], ["b", "c"]], ["a", ["b"]], [[], ["a"]]])
def test_ragged_values(value: list[Any], dtype: int) -> None:
    if dtype == types_pb2.DT_FLOAT:
        value = json.loads(json.dumps(value).translate(str.maketrans("abc", "123")).replace('"', ""))
    with pytest.raises(ShapeMismatch) as raised:
        to_tensor(value, dtype, None, "x")
    assert raised.value.status == 412


@pytest.mark.parametrize(
    ("sizes", "shape", "expected"),
    [
        ((4,), None, (4,)),
        ((4,), (-1, 4), (1, 4)),
        ((4,), (1, 4), (1, 4)),
        ((3, 4), (-1, 4), (3, 4)),
        ((), (-1,), (1,)),
        ((), (), ()),
        ((2, 2), (-1, -1, 2), (1, 2, 2)),
        # for the model server to judge
        ((28, 28), (-1, 784), (28, 28)),
        ((4,), (-1, 3), (1, 4)),
        ((1, 1, 4), (-1, 4), (1, 1, 4)),
        ((1,), (), (1,)),
        ((), (-1, 4), ()),
    ],
)
def test_a_leading_one_is_added_to_one_dimension_less(
    sizes: tuple[Any, ...], shape: tuple[Any, ...] | None, expected: tuple[Any, ...]
) -> None:
    assert fitted(sizes, shape) == expected


def test_a_tensor_proto_is_given_a_leading_one_too() -> None:
    tensor = tf.make_tensor_proto([1.0, 2.0])
    assert to_array(with_fitted_shape(tensor, (-1, 2))).tolist() == [[1.0, 2.0]]
    assert to_array(tensor).tolist() == [1.0, 2.0]
    assert with_fitted_shape(tensor, (-1,)) is tensor


def test_the_last_value_of_a_tensor_proto_stands_for_the_rest() -> None:
    tensor = tf.make_tensor_proto(7, dtype=tf.int64, shape=[2, 2])
    assert to_array(tensor).tolist() == [[7, 7], [7, 7]]


def test_a_tensor_proto_without_a_counterpart() -> None:
    with pytest.raises(ValueError, match="DT_QINT8"):
        to_array(tensor_pb2.TensorProto(dtype="DT_QINT8"))


@pytest.mark.parametrize("dtype", ["DT_FLOAT", "DT_INT32", "DT_STRING", "DT_COMPLEX64"])
def test_a_small_tensor_that_would_grow_to_gigabytes(dtype: str) -> None:
    tensor = tensor_pb2.TensorProto(dtype=dtype)
    tensor.tensor_shape.dim.add(size=100_000_000)
    with pytest.raises(BadRequest, match="100000000 elements and holds 0"):
        tensors.check_size(tensor, "x")
    tensor.tensor_shape.dim[0].size = tensors.MAX_REPEATED + 1
    with pytest.raises(BadRequest, match="1000001 elements and holds 0"):
        tensors.check_size(tensor, "x")
    tensor.tensor_shape.dim[0].size = tensors.MAX_REPEATED
    tensors.check_size(tensor, "x")


def test_a_large_tensor_that_holds_all_of_its_elements() -> None:
    tensor = tensor_pb2.TensorProto(dtype="DT_FLOAT", float_val=np.zeros(1_500_000))
    tensor.tensor_shape.dim.add(size=1_500_000)
    tensors.check_size(tensor, "x")
