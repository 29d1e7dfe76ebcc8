"""Arrays as the documents of TensorFlow Serving's REST API, and back.

Owns the two forms of a response: `predictions`, one for each element of the outputs' common first dimension (values of
the only output, or objects of all), and `outputs` where there is no such dimension. Text that is not UTF-8
keeps its bytes; an output whose name ends in `_bytes` is base64, as the REST API has it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from tfsd.errors import BadRequest
from tfsd.tensors import values
from tfsd.tensors.dtypes import DT_STRING, DTYPES
from tfsd.tensors.values import Array, NoArray

UNNAMED = "outputs"  # an only output whose name the response does not tell
_B64 = "b64"
_BYTES_SUFFIX = "_bytes"
_RAW_BYTES = "surrogateescape"


def to_document(outputs: Mapping[str, Array]) -> bytes:
    """The REST API's body for these outputs. Raises NoArray: complex numbers, which JSON has not."""
    for name, array in outputs.items():
        if array.dtype.kind == "c":
            raise NoArray(f"output {name!r}: JSON has no complex numbers")
    members = {name: _member(name, array) for name, array in outputs.items()}
    lengths = {array.shape[0] if array.ndim else None for array in outputs.values()}
    by_row = len(lengths) == 1 and None not in lengths
    document: dict[str, Any]
    if len(members) == 1:
        document = {"predictions" if by_row else "outputs": next(iter(members.values()))}
    elif by_row:
        rows = zip(*members.values(), strict=True)
        document = {"predictions": [dict(zip(members, row, strict=True)) for row in rows]}
    else:
        document = {"outputs": members}
    if all(isinstance(member, (np.ndarray, np.generic)) for member in members.values()):
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(document, ensure_ascii=False, default=_plain).encode(errors=_RAW_BYTES)


def _member(name: str, array: Array) -> Any:
    """What of an output stands in the document: the array itself where orjson writes it as it is."""
    if array.dtype == np.object_:
        return _text(array.tolist(), name.endswith(_BYTES_SUFFIX))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return array.tolist()  # NaN and Infinity, which orjson writes as null
    return np.ascontiguousarray(array) if array.ndim else array[()]


def _text(value: Any, as_base64: bool) -> Any:
    if isinstance(value, list):
        return [_text(item, as_base64) for item in value]
    if as_base64:
        return {_B64: base64.b64encode(value).decode()}
    return value.decode(errors=_RAW_BYTES)


def _plain(value: Any) -> Any:
    return value.tolist()


def from_document(body: bytes, dtypes: Mapping[str, int]) -> dict[str, Array]:
    """The outputs of a REST response by name.

    Args:
        dtypes: of the signature's outputs; what is not in it has the dtype that numpy gives its values.
    Raises NoArray: rows that differ in shape, labels with scores, what is no response at all.
    """
    try:
        try:
            document = orjson.loads(body)
        except ValueError:
            document = json.loads(body.decode(errors=_RAW_BYTES))
    except (ValueError, RecursionError) as error:
        raise NoArray(f"the model server's response is not JSON: {error}") from None
    columns = _columns(document, next(iter(dtypes)) if len(dtypes) == 1 else UNNAMED)
    return {name: _column(name, column, dtypes.get(name)) for name, column in columns.items()}


def _columns(document: Any, only: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise NoArray("the model server's response is no object")
    rows = document.get("predictions", document.get("results"))
    if rows is None:
        outputs = document.get("outputs")
        return outputs if isinstance(outputs, dict) and not _is_base64(outputs) else {only: outputs}
    if isinstance(rows, list) and rows and all(isinstance(row, dict) and not _is_base64(row) for row in rows):
        return {name: [row.get(name) for row in rows] for name in rows[0]}
    return {only: rows}


def _column(name: str, column: Any, number: int | None) -> Array:
    try:
        decoded = _decoded(column)
        if isinstance(_first(decoded), bytes):
            return values.encoded(np.array(decoded, np.object_), name)
        array = np.array(decoded)
        if array.dtype.kind not in "biuf":
            raise NoArray(f"output {name!r} is no tensor of numbers or of text")
        dtype = None if number is None or number == DT_STRING else DTYPES.get(number)
        return array if dtype is None else array.astype(dtype.numpy)
    except NoArray:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError, BadRequest):
        raise NoArray(f"output {name!r} is no tensor: its rows differ in shape") from None


def _first(value: Any) -> Any:
    while isinstance(value, list) and value:
        value = value[0]
    return value


def _decoded(value: Any) -> Any:
    """Base64 as bytes, and text as the bytes that it stands for where it is not UTF-8."""
    if isinstance(value, list):
        return (
            [_decoded(item) for item in value] if value and not isinstance(value[0], (int, float)) else value
        )
    if _is_base64(value):
        try:
            return base64.b64decode(value[_B64], validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise NoArray("a value is no base64") from None
    return value.encode(errors=_RAW_BYTES) if isinstance(value, str) else value


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {_B64}
