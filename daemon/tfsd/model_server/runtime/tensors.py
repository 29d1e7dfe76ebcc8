"""`TensorProto` <-> NumPy, with the leniencies of TensorFlow's own parser. Knows no signature."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from tfsd.model_server.errors import Code, ServingError, invalid
from tfsd.model_server.varint import varint

TensorProto = tensor_pb2.TensorProto
MAX_DIMS = 64  # of an array in NumPy; TensorShape::MaxDimensions() is 254
_MAX_ELEMENTS = 2**63 - 1

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


def decode(proto: Any, alias: str) -> np.ndarray:
    """The array of a `TensorProto`.

    As TensorFlow does: too few values repeat the last one, none at all are zeros, too many are cut off; a
    `tensor_content` must have exactly the right size.
    Raises ServingError: INVALID_ARGUMENT `tensor parsing error: ALIAS`.
    """
    try:
        shape = _shape(proto.tensor_shape)
        if proto.dtype == types_pb2.DT_STRING:
            return _strings(proto, shape)
        return _numbers(proto, shape)
    except (ValueError, KeyError, OverflowError, MemoryError, IndexError):
        raise invalid(f"tensor parsing error: {alias}") from None


def _shape(proto: Any) -> tuple[int, ...]:
    shape = tuple(dim.size for dim in proto.dim)
    if len(shape) > MAX_DIMS or any(size < 0 for size in shape):
        raise ValueError("not a full shape")
    elements = 1
    for size in shape:
        elements *= size
        if elements > _MAX_ELEMENTS:
            raise ValueError("too many elements")
    return shape


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _numbers(proto: Any, shape: tuple[int, ...]) -> np.ndarray:
    field, wire = _BY_NUMBER[proto.dtype]
    dtype = _NUMPY[proto.dtype]
    count = _elements(shape)
    if count and proto.tensor_content:
        if len(proto.tensor_content) != count * dtype.itemsize:
            raise ValueError("tensor_content has another size than the shape")
        if dtype == np.bool_ and max(proto.tensor_content) > 1:
            raise ValueError("a bool is neither 0 nor 1")
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    raw = np.fromiter(getattr(proto, field), wire) if count else np.empty(0, wire)
    return _fill(_as_dtype(raw, dtype), count, dtype).reshape(shape)


def _as_dtype(raw: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values of a proto field as the tensor's type: pairs for complex, bits for half, wrapped for small ints."""
    if dtype.kind == "c":
        return raw[: len(raw) // 2 * 2].view(dtype)
    if raw.dtype == np.int32 and dtype.kind not in "iu":  # half and bfloat16 bits, quantized integers
        bits = np.dtype(f"{'u' if dtype.names is None else 'i'}{dtype.itemsize}")
        return raw.astype(bits).view(dtype)
    return raw.astype(dtype, copy=False)


def _fill(values: np.ndarray, count: int, dtype: np.dtype) -> np.ndarray:
    if len(values) >= count:
        return values[:count]
    if not len(values):
        return np.zeros(count, dtype)
    result = np.empty(count, dtype)
    result[: len(values)] = values
    result[len(values) :] = values[-1]
    return result


def _strings(proto: Any, shape: tuple[int, ...]) -> np.ndarray:
    count = _elements(shape)
    values = (
        _string_content(proto.tensor_content, count) if proto.tensor_content else proto.string_val[:count]
    )
    array = np.empty(count, object)
    array[:] = b""
    array[: len(values)] = values
    if 0 < len(values) < count:
        array[len(values) :] = values[-1]
    return array.reshape(shape)


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


def encode(array: np.ndarray, proto: Any, as_content: bool, dtype: int) -> None:
    """Write an array into an empty `TensorProto`, in the typed field or (`as_content`) as tensor_content.

    Args:
        dtype: the `DataType`; the array's own does not tell quantized integers from plain ones.
    Raises ServingError: UNIMPLEMENTED for a type that has no field.
    """
    proto.dtype = dtype
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if dtype == types_pb2.DT_STRING:
        values = array.ravel().tolist()
        if as_content:
            proto.tensor_content = b"".join([varint(len(value)) for value in values] + values)
        else:
            proto.string_val.extend(values)
    elif as_content:
        proto.tensor_content = array.tobytes()
    elif dtype in _RAW_TAGS:
        if array.size:
            raw = array.tobytes()
            proto.MergeFromString(_RAW_TAGS[dtype] + varint(len(raw)) + raw)
    else:
        _extend(proto, array, dtype)


def _extend(proto: Any, array: np.ndarray, dtype: int) -> None:
    if dtype not in _BY_NUMBER:
        raise ServingError(
            Code.UNIMPLEMENTED, f"Cannot write a tensor of type {types_pb2.DataType.Name(dtype)}"
        )
    flat = np.ascontiguousarray(array).reshape(-1)
    if array.dtype.names is not None:
        flat = flat[array.dtype.names[0]]
    elif array.dtype.kind not in "iu":
        flat = flat.view(np.uint16)
    getattr(proto, _BY_NUMBER[dtype][0]).extend(flat.tolist())
