"""TensorProtos from what `input_fn` and the default of it return: nested lists, scalars, arrays, TensorProtos.

Owns what such a value may be and how its shape is made to fit a signature's. Arrays are converted by `tfsd.tensors`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from tensorflow.core.framework import tensor_pb2

from tfsd.errors import BadRequest, HttpError
from tfsd.tensors import values
from tfsd.tensors.dtypes import DT_FLOAT, DT_STRING, DTYPES, Shape

MAX_REPEATED = 1_000_000
FEW = 50  # floats
_INT_FIELD = "int_val"  # of all integers with 32 bits or less


class ShapeMismatch(HttpError):
    """412: a value that has no shape, since its rows differ (the status is that of the AWS image)."""

    def __init__(self, message: str) -> None:
        super().__init__(412, message)


def to_tensor(value: Any, dtype: int, shape: Shape, name: str) -> Any:
    """A TensorProto of a signature's input, see `fill`."""
    tensor = tensor_pb2.TensorProto()
    fill(tensor, value, dtype, shape, name)
    return tensor


def fill(tensor: Any, value: Any, dtype: int, shape: Shape, name: str) -> None:
    """Write a value of a signature's input into an empty TensorProto.

    Args:
        value: scalar, nested sequence or ndarray of numbers, bools, or str and bytes.
        dtype: the input's DataType.
        shape: the input's shape; a value of one dimension less is given a leading 1.
        name: the input's, for messages.
    Raises BadRequest (values that the dtype cannot hold), ShapeMismatch.
    """
    floats = _few_floats(value) if dtype == DT_FLOAT else None
    if floats is not None:
        sizes, content = floats
        values.write_head(tensor, fitted(sizes, shape), dtype)
        tensor.tensor_content = content
        return
    array = _array(value, dtype, name)
    values.fill(tensor, array.reshape(fitted(array.shape, shape)), dtype)


def check_size(tensor: Any, name: str) -> None:
    """Raise BadRequest for a TensorProto of a few bytes that would grow to gigabytes in the model server, where the
    last value stands for all that follow (tensor.proto)."""
    elements = math.prod(dim.size for dim in tensor.tensor_shape.dim)
    if elements <= MAX_REPEATED or tensor.tensor_content:
        return
    known = DTYPES.get(tensor.dtype)
    held = len(getattr(tensor, known.field if known else _INT_FIELD))
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


def _few_floats(value: Any) -> tuple[list[int], bytes] | None:
    """The sizes and the content of a short list of floats or of rows of floats, which NumPy takes thrice as long for;
    None for all else."""
    if type(value) is not list or not 0 < len(value) <= FEW:
        return None
    sizes = [len(value)]
    if type(value[0]) is list:
        sizes.append(len(value[0]))
        if set(map(type, value)) != {list} or set(map(len, value)) != {sizes[1]} or math.prod(sizes) > FEW:
            return None
        value = list(chain.from_iterable(value))
    if set(map(type, value)) != {float}:
        return None
    try:
        return sizes, struct.pack(f"<{len(value)}f", *value)
    except OverflowError:  # infinite in float32
        return None


def _array(value: Any, dtype: int, name: str) -> Any:
    """`value` as an ndarray of the dtype. Raises BadRequest, ShapeMismatch."""
    if dtype not in DTYPES:
        raise BadRequest(
            f"Input {name!r} is of {values.dtype_name(dtype)}; let input_fn return a TensorProto for it."
        )
    if dtype == DT_STRING:
        return _strings(value, name)
    try:
        array = np.asarray(value)
    except ValueError:
        raise ShapeMismatch(f"The rows of the value for input {name!r} are not of the same length.") from None
    except (TypeError, OverflowError) as error:
        raise BadRequest(f"The value for input {name!r} is not numeric: {error}") from None
    if array.size == 0 and array.dtype.kind == "f":  # what numpy makes of an empty list
        return array.astype(DTYPES[dtype].numpy)
    return values.cast(array, dtype, name)


def _strings(value: Any, name: str) -> Any:
    """str and bytes, in any nesting, as an array of bytes objects."""
    if isinstance(value, (str, bytes)):
        array = np.empty((), np.object_)
        array[()] = value
    elif isinstance(value, np.ndarray):
        array = value
    else:
        try:
            array = np.array(value, np.object_)
        except ValueError:
            raise ShapeMismatch(f"The rows of the value for input {name!r} differ in shape.") from None
    if array.dtype == np.object_ and any(isinstance(item, (list, tuple)) for item in array.ravel()):
        raise ShapeMismatch(f"The rows of the value for input {name!r} are not of the same length.")
    return values.encoded(array, name)
