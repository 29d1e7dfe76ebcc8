"""TensorProto to NumPy and back, held against TensorFlow's own parser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import tensor_pb2, types_pb2

from tfsd.model_server.errors import Code, ServingError
from tfsd.model_server.runtime import tensors

INTEGERS = "int8 int16 int32 int64 uint8 uint16 uint32 uint64".split()  # noqa: SIM905
DTYPES = [*INTEGERS, "float16", "bfloat16", "float32", "float64", "bool", "complex64", "complex128"]
FIELDS = (
    "float_val",
    "double_val",
    "int_val",
    "int64_val",
    "uint32_val",
    "uint64_val",
    "bool_val",
    "half_val",
)


def truth(proto: tensor_pb2.TensorProto) -> np.ndarray | None:
    """What TensorFlow's C++ parser reads, or None."""
    try:
        parsed = tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(proto.dtype))
    except tf.errors.OpError:
        return None
    return np.asarray(parsed.numpy(), object if proto.dtype == types_pb2.DT_STRING else None)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype == object:
        return one.shape == other.shape and one.tolist() == other.tolist()
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.kind in "fc":  # NaNs lose their payload between float and double
        return np.array_equal(one, other, equal_nan=True)
    return one.tobytes() == other.tobytes()


def check(proto: tensor_pb2.TensorProto) -> None:
    want = truth(proto)
    if want is None:
        with pytest.raises(ServingError, match="tensor parsing error: x"):
            tensors.decode(proto, "x")
    else:
        assert same(tensors.decode(proto, "x"), want)


@st.composite
def protos(draw: Callable[..., Any]) -> tensor_pb2.TensorProto:
    """Tensors as clients may send them: too few or too many values, a wrong content, a shape that is none."""
    dtype = draw(st.sampled_from([*DTYPES, "string"]))
    proto = tensor_pb2.TensorProto(dtype=tf.as_dtype(dtype).as_datatype_enum)
    for size in draw(st.lists(st.integers(-1, 3), max_size=3)):
        proto.tensor_shape.dim.add(size=size)
    proto.tensor_shape.unknown_rank = draw(st.sampled_from([False] * 9 + [True]))
    if dtype == "string":
        proto.string_val.extend(draw(st.lists(st.binary(max_size=3), max_size=5)))
    elif draw(st.booleans()):
        values = draw(st.lists(st.integers(0, 1), max_size=12))
        for field in FIELDS:
            getattr(proto, field).extend(values)
        proto.scomplex_val.extend(values)
        proto.dcomplex_val.extend(values)
    else:
        proto.tensor_content = draw(st.binary(max_size=64))
    return proto


@settings(max_examples=300)
@given(protos())
def test_decodes_as_tensorflow_does(proto: Any) -> None:
    check(proto)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_out_of_range_wrap_as_in_tensorflow(dtype: str) -> None:
    field = {"int64": "int64_val", "uint32": "uint32_val", "uint64": "uint64_val"}.get(dtype, "int_val")
    proto = tensor_pb2.TensorProto(dtype=tf.as_dtype(dtype).as_datatype_enum)
    proto.tensor_shape.dim.add(size=4)
    getattr(proto, field).extend([300, 70000, 2**31 - 1, 0 if "u" in field else -1])
    check(proto)


@pytest.mark.parametrize("dims", [tensors.MAX_DIMS, tensors.MAX_DIMS + 1, 254, 255])
def test_the_number_of_dimensions_is_limited(dims: int) -> None:
    """TensorFlow itself stops at 254, of which NumPy can hold 64."""
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1.0])
    for _ in range(dims):
        proto.tensor_shape.dim.add(size=1)
    if dims == 64:
        assert tensors.decode(proto, "x").shape == (1,) * dims
        return
    with pytest.raises(ServingError, match="tensor parsing error: x"):
        tensors.decode(proto, "x")


def test_more_elements_than_64_bits_count() -> None:
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT)
    for _ in range(3):
        proto.tensor_shape.dim.add(size=2**40)
    check(proto)


@pytest.mark.parametrize("dtype", ["DT_INVALID", "DT_RESOURCE", "DT_VARIANT", "DT_FLOAT_REF"])
def test_types_without_values(dtype: str) -> None:
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DataType.Value(dtype))
    with pytest.raises(ServingError) as refusal:
        tensors.decode(proto, "x")
    assert refusal.value.code is Code.INVALID_ARGUMENT


def test_string_content() -> None:
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_content=b"\x01\x02abb")
    proto.tensor_shape.dim.add(size=2)
    assert tensors.decode(proto, "x").tolist() == [b"a", b"bb"]
    proto.tensor_content += b"c"
    check(proto)


def round_trip(array: np.ndarray, as_content: bool) -> tuple[np.ndarray, tensor_pb2.TensorProto]:
    dtype = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
    proto = encoded(array, as_content, dtype.as_datatype_enum)
    return tensors.decode(proto, "x"), proto


def encoded(array: np.ndarray, as_content: bool, dtype: int) -> tensor_pb2.TensorProto:
    return tensor_pb2.TensorProto.FromString(b"".join(tensors.encode(array, as_content, dtype)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_field_of_many_values(dtype: str) -> None:
    values = np.arange(1000) % 100
    array = values.astype(tf.as_dtype(dtype).as_numpy_dtype)
    proto = encoded(array, as_content=False, dtype=tf.as_dtype(dtype).as_datatype_enum)
    assert same(tensors.decode(proto, "x"), array)
    check(proto)


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=20)
@given(data=st.data())
def test_what_is_encoded_decodes_to_itself(dtype: str, as_content: bool, data: Any) -> None:
    numpy_dtype = np.dtype(tf.as_dtype(dtype).as_numpy_dtype)
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    raw = data.draw(hnp.arrays(np.uint8 if dtype != "bool" else np.bool_, (*shape, numpy_dtype.itemsize)))
    array = np.ascontiguousarray(raw).view(numpy_dtype).reshape(shape)
    back, proto = round_trip(array, as_content)
    assert same(back, array)
    want = truth(proto)
    assert want is not None
    assert same(want, array)
    assert bool(proto.tensor_content) == (as_content and array.size > 0)


@pytest.mark.parametrize("as_content", [False, True])
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_strings_round_trip(as_content: bool, values: list[Any]) -> None:
    array = np.empty(len(values), object)
    array[:] = values
    back, _ = round_trip(array, as_content)
    assert back.tolist() == values


def test_quantized_integers_are_written_as_such() -> None:
    proto = encoded(np.array([-3, 4], np.int8), False, types_pb2.DT_QINT8)
    assert list(proto.int_val) == [-3, 4]
    assert proto.dtype == types_pb2.DT_QINT8
    assert tensors.decode(proto, "x").tolist() == [(-3,), (4,)]
