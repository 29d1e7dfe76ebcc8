"""`TensorProto` <-> NumPy, with the leniencies of TensorFlow's own parser. Knows no signature."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2

from tfsd.model_server.errors import Code, ServingError, invalid
from tfsd.model_server.runtime import tf
from tfsd.model_server.varint import field, varint

TensorProto = tensor_pb2.TensorProto
MAX_DIMS = 64  # of an array in NumPy; TensorShape::MaxDimensions() is 254
_MAX_ELEMENTS = 2**63 - 1
_FEW = 64

_INT_VAL = ("INT32", "INT16", "INT8", "UINT16", "UINT8", "QINT8", "QUINT8", "QINT16", "QUINT16", "QINT32")
#: the DataType's name -> (the field that holds its values, the NumPy type of that field's elements)
_FIELDS: dict[str, tuple[str, Any]] = {
    "FLOAT": ("float_val", np.float32),
    "DOUBLE": ("double_val", np.float64),
    "INT64": ("int64_val", np.int64),
    "UINT32": ("uint32_val", np.uint32),
    "UINT64": ("uint64_val", np.uint64),
    "BOOL": ("bool_val", np.bool_),
    "HALF": ("half_val", np.int32),
    "BFLOAT16": ("half_val", np.int32),
    "COMPLEX64": ("scomplex_val", np.float32),
    "COMPLEX128": ("dcomplex_val", np.float64),
} | dict.fromkeys(_INT_VAL, ("int_val", np.int32))
_BY_NUMBER = {types_pb2.DataType.Value(f"DT_{name}"): spec for name, spec in _FIELDS.items()}
_NUMPY = {number: np.dtype(tf.as_dtype(number).as_numpy_dtype) for number in _BY_NUMBER}
#: fields whose packed wire form is the array's bytes: name -> their tag, to be written without a loop
_RAW_TAGS = {
    types_pb2.DT_FLOAT: b"\x2a",
    types_pb2.DT_DOUBLE: b"\x32",
    types_pb2.DT_COMPLEX64: b"\x4a",
    types_pb2.DT_COMPLEX128: b"\x62",
    types_pb2.DT_BOOL: b"\x5a",
}
_CONTENT_TAG = b"\x22"


def decode(proto: Any, alias: str) -> np.ndarray:
    """The array of a `TensorProto`.

    As TensorFlow does: too few values repeat the last one, none at all are zeros, too many are cut off; a
    `tensor_content` must have exactly the right size.
    Raises ServingError: INVALID_ARGUMENT `tensor parsing error: ALIAS`.
    """
    try:
        shape, count = _shape(proto.tensor_shape)
        dtype = proto.dtype
        values = _strings(proto, count) if dtype == types_pb2.DT_STRING else _numbers(proto, dtype, count)
        return values.reshape(shape)
    except (ValueError, KeyError, OverflowError, MemoryError, IndexError):
        raise invalid(f"tensor parsing error: {alias}") from None


def _shape(proto: Any) -> tuple[list[int], int]:
    """A shape, and how many elements it has."""
    shape = [dim.size for dim in proto.dim[:]]  # a list's end costs less than that of a field
    if len(shape) > MAX_DIMS:
        raise ValueError("too many dimensions")
    elements = 1
    for size in shape:
        elements *= size
        if size < 0 or elements > _MAX_ELEMENTS:
            raise ValueError("not a full shape, or too many elements")
    return shape, elements


def _numbers(proto: Any, number: int, count: int) -> np.ndarray:
    (name, wire), dtype = _BY_NUMBER[number], _NUMPY[number]
    if count and (content := proto.tensor_content):
        if len(content) != count * dtype.itemsize:
            raise ValueError("tensor_content has another size than the shape")
        if dtype == np.bool_ and max(content) > 1:
            raise ValueError("a bool is neither 0 nor 1")
        return np.frombuffer(content, dtype)
    values = getattr(proto, name)
    # NumPy takes the memory of a field at once, but a few values are sooner made
    raw = np.array(values if len(values) > _FEW else values[:], wire) if count else np.empty(0, wire)
    return _fill(_as_dtype(raw, dtype), count, dtype)


def _as_dtype(raw: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values of a proto field as the tensor's type: pairs for complex, bits for half, wrapped for small ints."""
    if raw.dtype == dtype:
        return raw
    if dtype.kind == "c":
        return raw[: len(raw) // 2 * 2].view(dtype)
    if raw.dtype == np.int32 and dtype.kind not in "iu":  # half and bfloat16 bits, quantized integers
        bits = np.dtype(f"{'u' if dtype.names is None else 'i'}{dtype.itemsize}")
        return raw.astype(bits).view(dtype)
    return raw.astype(dtype)


def _fill(values: np.ndarray, count: int, dtype: np.dtype) -> np.ndarray:
    if len(values) >= count:
        return values if len(values) == count else values[:count]
    if not len(values):
        return np.zeros(count, dtype)
    result = np.empty(count, dtype)
    result[: len(values)] = values
    result[len(values) :] = values[-1]
    return result


def _strings(proto: Any, count: int) -> np.ndarray:
    values = (
        _string_content(proto.tensor_content, count) if proto.tensor_content else proto.string_val[:count]
    )
    array = np.empty(count, object)
    array[:] = b""
    array[: len(values)] = values
    if 0 < len(values) < count:
        array[len(values) :] = values[-1]
    return array


def _string_content(content: bytes, count: int) -> list[bytes]:
    """The strings of a DT_STRING `tensor_content`: all lengths as varints, then all bytes."""
    lengths, at = [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            byte = content[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if at + sum(lengths) != len(content):
        raise ValueError("string lengths and content disagree")
    values = []
    for length in lengths:
        values.append(content[at : at + length])
        at += length
    return values


def encode(array: np.ndarray, as_content: bool, dtype: int) -> list[bytes]:
    """The pieces of a serialized `TensorProto`, with the values in the typed field or (`as_content`) as tensor_content.

    Args:
        dtype: the `DataType`; the array's own does not tell quantized integers from plain ones.
    Raises ServingError: UNIMPLEMENTED for a type that has no field.
    """
    head = _head(dtype, array.shape)
    if dtype == types_pb2.DT_STRING:
        values = array.ravel().tolist()
        if not as_content:
            return [head, TensorProto(string_val=values).SerializeToString()]
        raw, tag = b"".join([varint(len(value)) for value in values] + values), _CONTENT_TAG
    elif as_content:
        raw, tag = array.tobytes(), _CONTENT_TAG
    elif dtype in _RAW_TAGS:
        raw, tag = array.tobytes(), _RAW_TAGS[dtype]
    else:
        return [head, _in_field(array, dtype)]
    return [head + tag + varint(len(raw)), raw] if raw else [head]


@lru_cache(256)
def _head(dtype: int, shape: tuple[int, ...]) -> bytes:
    """The fields of a `TensorProto` before its values."""
    dims = [field(2, b"\x08" + varint(size) if size else b"") for size in shape]
    return b"\x08" + varint(dtype) + field(2, b"".join(dims))


def _in_field(array: np.ndarray, dtype: int) -> bytes:
    if dtype not in _BY_NUMBER:
        raise ServingError(
            Code.UNIMPLEMENTED, f"Cannot write a tensor of type {types_pb2.DataType.Name(dtype)}"
        )
    flat = np.ascontiguousarray(array).reshape(-1)
    if array.dtype.names is not None:
        flat = flat[array.dtype.names[0]]
    elif array.dtype.kind not in "iu":
        flat = flat.view(np.uint16)
    return TensorProto(**{_BY_NUMBER[dtype][0]: flat.tolist()}).SerializeToString()
