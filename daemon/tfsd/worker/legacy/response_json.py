"""A PredictResponse in protobuf's JSON mapping, equal to json_format's to the byte, in a fraction of its time.

json_format walks every message by reflection and prints each float in several attempts. What is common is written here;
any tensor with another field is json_format's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from google.protobuf import json_format
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from tensorflow_serving.apis import model_pb2

REMEMBERED = 1024  # shapes and the like
FEW = 50  # up to here NumPy costs more than it saves
SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)  # below it json_format prints more digits than are needed
_to_text = json.JSONEncoder(ensure_ascii=False).encode


def predict_response(response: Any) -> bytes:
    """On one line."""
    parts = []
    tensors = response.outputs  # whose `items` takes as long as all the rest of this function
    outputs = [f"{_to_text(name)}: {_tensor(tensors[name])}" for name in tensors]
    if outputs:
        parts.append(f'"outputs": {{{", ".join(outputs)}}}')
    if response.HasField("model_spec"):
        parts.append(f'"modelSpec": {_model_spec(response.model_spec.SerializeToString())}')
    return f"{{{', '.join(parts)}}}".encode()


@lru_cache(REMEMBERED)
def _model_spec(serialized: bytes) -> str:
    return _to_text(_by_reflection(model_pb2.ModelSpec.FromString(serialized)))


def _tensor(tensor: Any) -> str:
    parts = []
    for field, value in tensor.ListFields():
        known = _FIELDS.get(field.name)
        if known is None:
            return _to_text(_by_reflection(tensor))
        name, write = known
        parts.append(f'"{name}": {write(value)}')
    return f"{{{', '.join(parts)}}}"


def _by_reflection(message: Any) -> dict[str, Any]:
    written: dict[str, Any] = json_format.MessageToDict(message)
    return written


def _shape(shape: Any) -> str:
    return _remembered_shape(shape.SerializeToString())


@lru_cache(REMEMBERED)
def _remembered_shape(serialized: bytes) -> str:
    return _to_text(_by_reflection(tensor_shape_pb2.TensorShapeProto.FromString(serialized)))


@lru_cache(REMEMBERED)
def _dtype(number: int) -> str:
    named = types_pb2.DataType.DESCRIPTOR.values_by_number.get(number)
    return str(number) if named is None else f'"{named.name}"'


def _floats(values: Any) -> str:
    """float32 with the digits that tell them apart."""
    array = np.array(values[:], np.float32)
    text = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    if not _is_written_otherwise(text):
        return text.replace(b",", b", ").decode()
    shortest: list[Any] = orjson.loads(text)
    if None in shortest or _has_subnormal(values, array):  # None is what orjson makes of infinity and NaN
        tensor = _by_reflection(tensor_pb2.TensorProto(float_val=values))
        shortest = tensor["floatVal"]
    return _to_text(shortest)


def _is_written_otherwise(text: bytes) -> bool:
    """Whether orjson has written what Python writes otherwise: exponents, what is no number, below 0.0001. (`in` takes
    twice as long where the piece is of bytes: it tries it as a number first.)"""
    return text.find(b"e") >= 0 or text.find(b"n") >= 0 or text.find(b"0.0000") >= 0


def _has_subnormal(values: Any, array: Any) -> bool:
    if len(values) <= FEW:
        return any(0 < value < SMALLEST_NORMAL or 0 > value > -SMALLEST_NORMAL for value in values)
    return bool(((np.abs(array) < SMALLEST_NORMAL) & (array != 0)).any())


def _integers(values: Any) -> str:
    return str(list(values))


def _quoted_integers(values: Any) -> str:
    return _to_text([str(value) for value in values])


def _booleans(values: Any) -> str:
    return _to_text(list(values))


_FIELDS: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "dtype": ("dtype", _dtype),
    "tensor_shape": ("tensorShape", _shape),
    "float_val": ("floatVal", _floats),
    "int_val": ("intVal", _integers),
    "int64_val": ("int64Val", _quoted_integers),
    "bool_val": ("boolVal", _booleans),
}
