"""NumPy arrays to TensorProtos and back.

Owns the rules by which an array becomes another dtype: never loses a value silently, what does not fit is refused.
Floating numbers are rounded, as they are when they come as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2

from tfsd.errors import BadRequest
from tfsd.tensors.dtypes import (
    DT_BFLOAT16,
    DT_COMPLEX64,
    DT_COMPLEX128,
    DT_DOUBLE,
    DT_FLOAT,
    DT_HALF,
    DT_STRING,
    DTYPES,
    DType,
)

KINDS = {number: np.dtype(dtype.numpy) for number, dtype in DTYPES.items()}
"""NumPy's dtypes by DataType."""
MAX_FILLED = 1 << 28  # values that one may stand for
Array = Any  # np.ndarray, of any dtype


class NoArray(ValueError):
    """A tensor that no array can stand for: its dtype is not numpy's, or its bytes do not make its shape."""


def dtype_name(number: int) -> str:
    """What the enum DataType calls it; the number itself where it does not know it."""
    try:
        name: str = types_pb2.DataType.Name(number)
    except ValueError:
        return str(number)
    return name


def known(number: int) -> DType:
    """The dtype of that number. Raises NoArray."""
    dtype = DTYPES.get(number)
    if dtype is None:
        raise NoArray(f"{dtype_name(number)} has no counterpart in numpy")
    return dtype


def cast(array: Array, number: int, name: str) -> Array:
    """The array as one of that dtype: `array` itself where nothing is to do. Text becomes bytes in an array of objects.

    Args:
        name: the input's, for messages.
    Raises BadRequest: a value that the dtype cannot hold, or a dtype that no array has.
    """
    kind = KINDS.get(number)
    if kind is None:
        raise BadRequest(f"Input {name!r} is of {dtype_name(number)}, which cannot be sent as an array.")
    if number == DT_STRING:
        return encoded(array, name)
    if array.dtype == kind:
        return array
    if array.dtype.kind not in ("biufc" if kind.kind == "c" else "biuf"):
        raise BadRequest(f"Input {name!r} expects {readable(number)}; the value is not numeric.")
    with np.errstate(all="ignore"):
        converted = array.astype(kind)
        exact = kind.kind in "fc" or np.array_equal(converted, array)
    if not exact:
        raise BadRequest(f"Input {name!r} expects {readable(number)}; some values do not fit.")
    return converted


def readable(number: int) -> str:
    """A dtype as Python's users know it: float32, bfloat16, string."""
    floats = {DT_HALF: "float16", DT_FLOAT: "float32", DT_DOUBLE: "float64"}
    return floats.get(number) or dtype_name(number).removeprefix("DT_").lower()


def encoded(array: Array, name: str) -> Array:
    """An array of bytes objects from one of text, bytes, or objects that are one of these. Raises BadRequest."""
    made = np.empty(array.shape, np.object_)
    flat = made.reshape(-1)
    for index, item in enumerate(array.ravel().tolist()):
        if isinstance(item, str):
            try:
                item = item.encode()
            except UnicodeEncodeError:
                raise BadRequest(f"Input {name!r} has text that is not Unicode: {item[:40]!r}.") from None
        elif not isinstance(item, bytes):
            raise BadRequest(f"Input {name!r} expects text, not {item!r:.40}.")
        flat[index] = item
    return made


def to_tensor(array: Array, number: int) -> Any:
    """The TensorProto of an array that `cast` has given the dtype."""
    tensor = tensor_pb2.TensorProto()
    fill(tensor, array, number)
    return tensor


def fill(tensor: Any, array: Array, number: int) -> None:
    """Write an array that `cast` has given the dtype into an empty TensorProto."""
    write_head(tensor, array.shape, number)
    if number == DT_STRING:
        tensor.string_val.extend(array.ravel())
    else:
        is_content = number != DT_BFLOAT16 and array.dtype == KINDS[number]
        tensor.tensor_content = array.tobytes() if is_content else bytes(content(array, number))


def head(shape: Sequence[int], number: int) -> Any:
    """A TensorProto with dtype and shape, and no values."""
    tensor = tensor_pb2.TensorProto()
    write_head(tensor, shape, number)
    return tensor


def write_head(tensor: Any, shape: Sequence[int], number: int) -> None:
    """Write dtype and shape into an empty TensorProto."""
    tensor.dtype = number
    dims = tensor.tensor_shape.dim
    for size in shape:
        dims.add().size = size


def content(array: Array, number: int) -> memoryview:
    """What stands in `tensor_content`: the elements in C order, little endian. It is the array's own memory where
    that is so already. Not for strings."""
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    if number == DT_BFLOAT16:
        array = _to_bfloat16(array)
    return array.reshape(-1).view(np.uint8).data


def is_content(dtype: Any, number: int) -> bool:
    """Whether the memory of any array of that dtype of numpy's, in C order, is what `content` gives for it."""
    return (
        number in KINDS.keys() - {DT_STRING, DT_BFLOAT16}  # numpy takes None, too, for float64
        and KINDS[number] == dtype
        and dtype.newbyteorder("<") == dtype
    )


def from_content(data: bytes | memoryview, number: int, shape: Sequence[int]) -> Array:
    """The array of what stands in `tensor_content`; it keeps `data` and cannot be written to. Raises NoArray."""
    dtype = known(number)
    if not dtype.itemsize:
        raise NoArray("strings are never in tensor_content")
    if len(data) != math.prod(shape) * dtype.itemsize or min(shape, default=0) < 0:
        raise NoArray(f"{len(data)} bytes are no {readable(number)} tensor of shape {list(shape)}")
    return _shaped(_viewed(data, number), shape)


def _viewed(data: bytes | memoryview, number: int) -> Array:
    if number == DT_BFLOAT16:
        return _from_bfloat16(np.frombuffer(data, "<u2"))
    return np.frombuffer(data, DTYPES[number].numpy)


def to_array(tensor: Any) -> Array:
    """The array of a TensorProto; strings are bytes in an array of objects, bfloat16 is float32. Raises NoArray."""
    number = tensor.dtype
    dtype = known(number)
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        return from_content(tensor.tensor_content, number, sizes)
    values = getattr(tensor, dtype.field)
    if number == DT_HALF:
        array = np.array(values, np.uint16).view(np.float16)
    elif number == DT_BFLOAT16:
        array = _from_bfloat16(np.array(values, np.uint16))
    elif number in (DT_COMPLEX64, DT_COMPLEX128):
        array = np.array(values, np.float64).view(np.complex128).astype(dtype.numpy)
    else:
        array = np.array(values, dtype.numpy)
    return filled(array, sizes)


def filled(array: Array, shape: Sequence[int]) -> Array:
    """The values in their shape; the last value stands for all that follow (tensor.proto). Raises NoArray."""
    missing = math.prod(shape) - array.size
    if 0 < missing < MAX_FILLED and array.size:
        array = np.concatenate([array, np.repeat(array[-1:], missing)])
    if array.size != math.prod(shape) or min(shape, default=0) < 0:
        raise NoArray(f"{array.size} values are no tensor of shape {list(shape)}")
    return _shaped(array, shape)


def _shaped(array: Array, shape: Sequence[int]) -> Array:
    try:
        return array.reshape(shape)
    except (ValueError, OverflowError) as error:  # more dimensions than numpy has, or longer ones
        raise NoArray(f"the shape {list(shape)} is none that numpy has: {error}") from None


def _to_bfloat16(array: Array) -> Array:
    """float32 as the upper half of its bits, rounded to nearest, ties to even."""
    bits = array.view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1)).astype(np.uint32)) >> 16).astype("<u2")
    nan = np.isnan(array)
    return np.where(nan, ((bits >> 16) | 0x40).astype("<u2"), rounded) if nan.any() else rounded


def _from_bfloat16(halves: Array) -> Array:
    return (halves.astype("<u4") << 16).view("<f4")
