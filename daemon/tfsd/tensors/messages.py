"""PredictRequest and PredictResponse without copies of the tensors in them.

protobuf's own classes copy a tensor's bytes three times on the way into a serialized request. Here a request is a list
of pieces, among them the arrays' memory, and a response's arrays are views of the bytes that came. What is small is
written and read by protobuf itself; the wire format is that of protobuf's "Encoding", the fields those of predict.proto
and tensor.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2

from tfsd.tensors import values
from tfsd.tensors.dtypes import DT_DOUBLE, DT_FLOAT, DT_STRING
from tfsd.tensors.values import Array, NoArray

Piece = bytes | memoryview
ContentT = TypeVar("ContentT", bound=Sized)

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_INPUTS, _OUTPUTS, _MODEL_SPEC = 2, 1, 2  # fields of PredictRequest; the others of PredictResponse
_KEY, _VALUE = 1, 2  # of an entry of a map
_CONTENT, _FLOATS, _DOUBLES = 4, 5, 6  # of TensorProto
_PACKED = {_FLOATS: (DT_FLOAT, "<f4"), _DOUBLES: (DT_DOUBLE, "<f8")}  # whose bytes are an array's already


class BadMessage(ValueError):
    """Bytes that are no PredictResponse."""


def predict_request(spec: Any, inputs: Mapping[str, tuple[Array, int]]) -> list[Piece]:
    """The pieces of a serialized PredictRequest.

    Args:
        spec: the ModelSpec.
        inputs: an array, as `values.cast` gives it, and its dtype's number, for each input. The arrays must not be
            written to until the request is sent.
    """
    pieces: list[Piece] = [_start(spec)]
    for name, (array, number) in inputs.items():
        pieces += _input(name, _tensor(array, number))
    return pieces


def predict_request_of(
    spec: Any, name: str, shape: Sequence[int], number: int, content: ContentT
) -> list[bytes | ContentT]:
    """The same with one input, whose elements, in C order and little endian, are wherever `content` says."""
    return [_start(spec), *_input(name, _with_content(shape, number, content))]


def _start(spec: Any) -> bytes:
    start: bytes = predict_pb2.PredictRequest(model_spec=spec).SerializeToString()
    return start


def _input(name: str, tensor: list[bytes | ContentT]) -> list[bytes | ContentT]:
    key = _head(_KEY, len(name.encode())) + name.encode()
    size = sum(map(len, tensor))
    start = key + _head(_VALUE, size)
    return [_head(_INPUTS, len(start) + size) + start, *tensor]


def _tensor(array: Array, number: int) -> list[Piece]:
    if number == DT_STRING:
        return [values.to_tensor(array, number).SerializeToString()]
    return _with_content(array.shape, number, values.content(array, number))


def _with_content(shape: Sequence[int], number: int, content: ContentT) -> list[bytes | ContentT]:
    start = values.head(shape, number).SerializeToString()
    return [start + _head(_CONTENT, len(content)), content] if content else [start]


def predict_response(message: bytes) -> tuple[dict[str, Array], Any]:
    """The outputs of a serialized PredictResponse by name, and its ModelSpec. The arrays may be views of `message`.

    Raises BadMessage, NoArray (an output's dtype is not numpy's; the message names it).
    """
    outputs: dict[str, Array] = {}
    spec = model_pb2.ModelSpec()
    try:
        for number, _, value in _fields(memoryview(message)):
            if number == _OUTPUTS:
                entry = {field: part for field, _, part in _fields(value)}
                name = bytes(entry.get(_KEY, b"")).decode()
                try:
                    outputs[name] = _array(memoryview(entry.get(_VALUE, b"")))
                except NoArray as error:
                    raise NoArray(f"output {name!r}: {error}") from None
            elif number == _MODEL_SPEC:
                spec.MergeFromString(bytes(value))
    except (NoArray, BadMessage):
        raise
    except (DecodeError, TypeError, ValueError) as error:
        raise BadMessage(f"no PredictResponse: {error}") from None
    return outputs, spec


def _array(tensor: memoryview) -> Array:
    """The array of a serialized TensorProto."""
    rest: list[Piece] = []
    large: dict[int, memoryview] = {}
    at = 0
    for number, end, value in _fields(tensor):
        if number in (_CONTENT, _FLOATS, _DOUBLES) and isinstance(value, memoryview):
            if number in large:  # protobuf allows it, no writer does it
                return values.to_array(tensor_pb2.TensorProto.FromString(bytes(tensor)))
            large[number] = value
        else:
            rest.append(tensor[at:end])
        at = end
    message = tensor_pb2.TensorProto.FromString(b"".join(rest))
    if not large:
        return values.to_array(message)
    sizes = [dim.size for dim in message.tensor_shape.dim]
    if large.get(_CONTENT):
        return values.from_content(large[_CONTENT], message.dtype, sizes)
    for number, (dtype, kind) in _PACKED.items():
        if message.dtype == dtype and number in large and not getattr(message, _name(number)):
            return values.filled(np.frombuffer(large[number], kind), sizes)
    return values.to_array(tensor_pb2.TensorProto.FromString(bytes(tensor)))


def _name(number: int) -> str:
    return "float_val" if number == _FLOATS else "double_val"


def _fields(message: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Each field of a serialized message: its number, where it ends, its value (bytes as views). Raises BadMessage."""
    at, size = 0, len(message)
    while at < size:
        tag, at = _varint(message, at)
        kind = tag & 7
        value: Any
        if kind == _BYTES:
            length, at = _varint(message, at)
            start, at = at, at + length
            value = message[start:at]
        elif kind == _VARINT:
            value, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            value, at = None, at + (8 if kind == _FIXED64 else 4)
        else:
            raise BadMessage(f"a field of wire type {kind}")
        if at > size:
            raise BadMessage("it is cut short")
        yield tag >> 3, at, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if at >= len(message):
            raise BadMessage("it is cut short")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise BadMessage("a number without end")


def _head(field: int, size: int) -> bytes:
    """What precedes `size` bytes of a field that has a length."""
    head = bytearray([field << 3 | _BYTES])
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head)
