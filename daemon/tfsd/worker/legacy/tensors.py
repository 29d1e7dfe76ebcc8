"""TensorProtos from array-likes and back.

Owns the mapping of dtypes and the rules of conversion and of shapes. Never loses a value silently: what does not
fit is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2

from tfsd.errors import BadRequest, HttpError

Shape = tuple[int, ...] | None
"""Sizes by dimension, -1 for one that is not known; None if not even their number is."""

DTYPES: dict[int, Any] = {
    types_pb2.DT_FLOAT: np.float32,
    types_pb2.DT_DOUBLE: np.float64,
    types_pb2.DT_HALF: np.float16,
    types_pb2.DT_INT8: np.int8,
    types_pb2.DT_INT16: np.int16,
    types_pb2.DT_INT32: np.int32,
    types_pb2.DT_INT64: np.int64,
    types_pb2.DT_UINT8: np.uint8,
    types_pb2.DT_UINT16: np.uint16,
    types_pb2.DT_UINT32: np.uint32,
    types_pb2.DT_UINT64: np.uint64,
    types_pb2.DT_BOOL: np.bool_,
    types_pb2.DT_COMPLEX64: np.complex64,
    types_pb2.DT_COMPLEX128: np.complex128,
    types_pb2.DT_STRING: np.object_,
}
MAX_REPEATED = 1_000_000
_LITTLE_ENDIAN = "<"
_FIELDS = {  # where a TensorProto keeps the values of a dtype when it has no tensor_content
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_HALF: "half_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_UINT32: "uint32_val",
    types_pb2.DT_UINT64: "uint64_val",
    types_pb2.DT_BOOL: "bool_val",
    types_pb2.DT_COMPLEX64: "scomplex_val",
    types_pb2.DT_COMPLEX128: "dcomplex_val",
    types_pb2.DT_STRING: "string_val",
}
_INT_FIELD = "int_val"  # of all integers with 32 bits or less


class ShapeMismatch(HttpError):
    """412: a value that has no shape, since its rows differ (the status is that of the AWS image)."""

    def __init__(self, message: str) -> None:
        super().__init__(412, message)


def to_tensor(value: Any, dtype: int, shape: Shape, name: str) -> Any:
    """A TensorProto of a signature's input.

    Args:
        value: scalar, nested sequence or ndarray of numbers, bools, or str and bytes.
        dtype: the input's DataType.
        shape: the input's shape; a value of one dimension less is given a leading 1.
        name: the input's, for messages.
    Raises BadRequest (values that the dtype cannot hold), ShapeMismatch.
    """
    array = _array(value, dtype, name)
    sizes = fitted(array.shape, shape)
    tensor = tensor_pb2.TensorProto(dtype=dtype)
    for size in sizes:
        tensor.tensor_shape.dim.add(size=size)
    if dtype == types_pb2.DT_STRING:
        tensor.string_val.extend(array.ravel())
    else:
        tensor.tensor_content = array.astype(array.dtype.newbyteorder(_LITTLE_ENDIAN)).tobytes()
    return tensor


def check_size(tensor: Any, name: str) -> None:
    """Raise BadRequest for a TensorProto of a few bytes that would grow to gigabytes in the model server, where the
    last value stands for all that follow (tensor.proto)."""
    elements = math.prod(dim.size for dim in tensor.tensor_shape.dim)
    if elements <= MAX_REPEATED or tensor.tensor_content:
        return
    held = len(getattr(tensor, _FIELDS.get(tensor.dtype, _INT_FIELD)))
    if held < elements // 2:  # a complex number is two
        raise BadRequest(
            f"The TensorProto for input {name!r} has a shape of {elements} elements and holds {held}; above "
            f"{MAX_REPEATED} elements all of them must be sent."
        )


def with_fitted_shape(tensor: Any, shape: Shape) -> Any:
    """A TensorProto with the shape that `fitted` gives it."""
    if tensor.tensor_shape.unknown_rank:
        return tensor
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    wanted = fitted(sizes, shape)
    if len(wanted) == len(sizes):
        return tensor
    copy = tensor_pb2.TensorProto()
    copy.CopyFrom(tensor)
    del copy.tensor_shape.dim[:]
    for size in wanted:
        copy.tensor_shape.dim.add(size=size)
    return copy


def fitted(sizes: Sequence[int], shape: Shape) -> tuple[int, ...]:
    """The sizes of a value for an input of `shape`: after a leading 1 if they are one dimension less, else as they are.

    Whether they fit is the model server's judgement: a graph may well reshape its input.
    """
    found = tuple(sizes)
    return (1, *found) if shape is not None and len(found) == len(shape) - 1 else found


def to_array(tensor: Any) -> Any:
    """The ndarray of a TensorProto; strings are bytes in an array of objects. Raises ValueError for what has no
    counterpart in numpy, or too few values."""
    dtype, kind = tensor.dtype, DTYPES.get(tensor.dtype)
    if kind is None:
        raise ValueError(f"{types_pb2.DataType.Name(dtype)} has no counterpart in numpy")
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        array = np.frombuffer(tensor.tensor_content, np.dtype(kind).newbyteorder(_LITTLE_ENDIAN))
        return array.reshape(sizes)
    values = getattr(tensor, _FIELDS.get(dtype, _INT_FIELD))
    if dtype == types_pb2.DT_HALF:
        array = np.array(values, np.uint16).view(np.float16)
    elif dtype in (types_pb2.DT_COMPLEX64, types_pb2.DT_COMPLEX128):
        array = np.array(values, np.float64).view(np.complex128).astype(kind)
    else:
        array = np.array(values, kind)
    missing = int(np.prod(sizes)) - array.size
    if missing > 0 and array.size:  # the last value stands for all that follow (tensor.proto)
        array = np.concatenate([array, np.repeat(array[-1:], missing)])
    return array.reshape(sizes)


def _array(value: Any, dtype: int, name: str) -> Any:
    """`value` as an ndarray of the dtype. Raises BadRequest, ShapeMismatch."""
    kind = DTYPES.get(dtype)
    if kind is None:
        raise BadRequest(
            f"Input {name!r} is of {types_pb2.DataType.Name(dtype)}; let input_fn return a TensorProto for it."
        )
    if dtype == types_pb2.DT_STRING:
        return _strings(value, name)
    try:
        array = np.asarray(value)
    except ValueError:
        raise ShapeMismatch(f"The rows of the value for input {name!r} are not of the same length.") from None
    except (TypeError, OverflowError) as error:
        raise BadRequest(f"The value for input {name!r} is not numeric: {error}") from None
    if array.size == 0 and array.dtype.kind == "f":  # what numpy makes of an empty list
        return array.astype(kind)
    real = np.dtype(kind).kind != "c"
    if array.dtype.kind not in ("biuf" if real else "biufc"):
        raise BadRequest(f"Input {name!r} expects {np.dtype(kind)}; the value is not numeric.")
    with np.errstate(all="ignore"):
        converted = array.astype(kind)
        exact = np.dtype(kind).kind in "fc" or np.array_equal(converted, array)
    if not exact:
        raise BadRequest(f"Input {name!r} expects {np.dtype(kind)}; some values do not fit.")
    return converted


def _strings(value: Any, name: str) -> Any:
    """str and bytes, in any nesting, as an array of bytes objects."""
    if isinstance(value, (str, bytes)):
        array = np.empty((), np.object_)
        array[()] = value
    elif isinstance(value, np.ndarray):
        array = value.astype(np.object_)
    else:
        try:
            array = np.array(value, np.object_)
        except ValueError:
            raise ShapeMismatch(f"The rows of the value for input {name!r} differ in shape.") from None
    encoded = np.empty(array.shape, np.object_)
    for index, item in np.ndenumerate(array):
        if isinstance(item, str):
            encoded[index] = item.encode()
        elif isinstance(item, bytes):
            encoded[index] = item
        elif isinstance(item, (list, tuple)):
            raise ShapeMismatch(f"The rows of the value for input {name!r} are not of the same length.")
        else:
            raise BadRequest(f"Input {name!r} expects text, not {item!r}.")
    return encoded
