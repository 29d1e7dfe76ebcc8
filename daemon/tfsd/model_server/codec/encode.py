"""Results to response bodies: predictions in row and column format, classifications, regressions.

Owns the layout of answers. Small ones have the real server's bytes (but for the order of outputs, which it
does not fix either); large ones are the same JSON without blanks, from orjson.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import orjson

from tfsd.model_server.codec.dtypes import dtype_name, has_json_form
from tfsd.model_server.codec.text import PrettyWriter, decimal, quote
from tfsd.model_server.errors import invalid

#: Up to this many values an answer is written in the real server's layout.
SMALL = 32

_NUMBERS = frozenset(
    np.dtype(name)
    for name in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "float32", "float64")
)
_TENSORFLOW_NAMES = {"float16": "half"}
_NULL = b"null"
_BYTES_SUFFIX = "_bytes"
_TRUTH = b"false", b"true"


def encode_predictions(
    outputs: Mapping[str, np.ndarray], row_format: bool, dtypes: Mapping[str, int] | None = None
) -> bytes:
    """The body of a :predict answer.

    Args:
        outputs: output name -> array; strings are object arrays of bytes.
        row_format: `predictions` (a list with one element per row) rather than `outputs`.
        dtypes: output name -> number of its TensorFlow dtype, where the array may not tell: quantized
            integers come as plain ones.
    Raises ServingError: INVALID_ARGUMENT for outputs that the format, or JSON, cannot hold.
    """
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    if row_format:
        _check_rows(outputs)
    for name, array in outputs.items():
        _check_type(array, (dtypes or {}).get(name))
    if sum(array.size for array in outputs.values()) > SMALL and all(
        map(_is_plain, outputs, outputs.values())
    ):
        return _encode_large(outputs, row_format)
    if row_format and len(outputs) == 1:
        ((name, array),) = outputs.items()
        text_of = _text_of(name, array)
        if text_of is not None and len(array):  # without a call for each mark
            rows = [_line(value, text_of) for value in array.tolist()]
            return b'{\n    "predictions": [%b\n    ]\n}' % b", ".join(rows)
    writer = PrettyWriter()
    writer.start(array=False)
    writer.key(b"predictions" if row_format else b"outputs")
    (_write_rows if row_format else _write_columns)(writer, outputs)
    writer.end()
    return writer.text()


def _check_rows(outputs: Mapping[str, np.ndarray]) -> None:
    batch_size: int | None = None
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if batch_size not in (None, len(array)):
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {batch_size}"
            )
        batch_size = len(array)


def _is_number(array: np.ndarray) -> bool:
    return array.dtype in _NUMBERS


def _is_plain(name: str, array: np.ndarray) -> bool:
    return _is_number(array) and _NULL.decode() not in name


def _check_type(array: np.ndarray, dtype: int | None) -> None:
    """Refuse types that JSON has no form for. An array without values needs none."""
    writable = array.dtype.kind == "O" or _is_number(array)
    if array.size and not (writable and (dtype is None or has_json_form(dtype))):
        kind = (
            _TENSORFLOW_NAMES.get(array.dtype.name, array.dtype.name) if dtype is None else dtype_name(dtype)
        )
        raise invalid(f"Failed to write JSON value for tensor type: {kind}")


def _write_rows(writer: PrettyWriter, outputs: Mapping[str, np.ndarray]) -> None:
    named = len(outputs) > 1
    columns = [(name.encode(), array.tolist(), _text_of(name, array)) for name, array in outputs.items()]
    writer.start(array=True)
    for row in range(len(columns[0][1])):
        if named:
            writer.start(array=False)
        writer.single_line = True
        for key, values, text_of in columns:
            if named:
                writer.key(key)
            _write_nested(writer, values[row], text_of)
        writer.single_line = False
        if named:
            writer.end()
    writer.end()


def _write_columns(writer: PrettyWriter, outputs: Mapping[str, np.ndarray]) -> None:
    if len(outputs) > 1:
        writer.start(array=False)
    for name, array in outputs.items():
        if len(outputs) > 1:
            writer.key(name.encode())
        _write_nested(writer, array.tolist(), _text_of(name, array))
    if len(outputs) > 1:
        writer.end()


def _write_nested(writer: PrettyWriter, value: Any, text_of: Callable[[Any], bytes] | None) -> None:
    """Write the values of an output: strings in base64 without a `text_of`."""
    if text_of is not None and (writer.single_line or not isinstance(value, list)):
        writer.raw(_line(value, text_of))
    elif isinstance(value, list):
        writer.start(array=True)
        for element in value:
            _write_nested(writer, element, text_of)
        writer.end()
    else:
        _write_base64(writer, value)


def _line(value: Any, text_of: Callable[[Any], bytes]) -> bytes:
    if not isinstance(value, list):
        return text_of(value)
    return b"[%b]" % b", ".join([_line(element, text_of) for element in value])


def _text_of(name: str, array: np.ndarray) -> Callable[[Any], bytes] | None:
    """How a value of an output is written; None for base64, which is an object."""
    kind = array.dtype.kind
    if kind == "O":
        return None if name.endswith(_BYTES_SUFFIX) else quote
    if kind == "f":
        return partial(decimal, single=array.dtype == np.float32)
    return _TRUTH.__getitem__ if kind == "b" else b"%d".__mod__


def _write_base64(writer: PrettyWriter, value: bytes) -> None:
    writer.start(array=False)
    writer.key(b"b64")
    writer.raw(quote(base64.b64encode(value)))
    writer.end()


def _encode_large(outputs: Mapping[str, np.ndarray], row_format: bool) -> bytes:
    """Numbers through orjson, which writes `null` for what is not finite: those are put in afterwards."""
    names, arrays = list(outputs), [np.require(array, requirements="C") for array in outputs.values()]
    floats = [array for array in arrays if array.dtype.kind == "f"]
    document: Any
    if len(arrays) == 1:
        document = arrays[0]
    elif row_format:
        document = [dict(zip(names, row, strict=True)) for row in zip(*arrays, strict=True)]
        floats = [array.reshape(len(array), -1) for array in floats]
    else:  # orjson takes a scalar, but no array of rank 0
        document = {name: array[()] for name, array in zip(names, arrays, strict=True)}
    text = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if not all(np.isfinite(array).all() for array in floats):
        interleaved = row_format and len(arrays) > 1
        text = _name_nulls(text, [np.concatenate(floats, axis=1)] if interleaved else floats)
    if row_format:
        return b'{\n    "predictions": %b\n    ]\n}' % text[:-1]
    return b'{\n    "outputs": %b\n}' % text


def _name_nulls(text: bytes, floats: Sequence[np.ndarray]) -> bytes:
    """Replace each `null` by the name of the value it stands for; `floats` in the order of the text."""
    values = (value for array in floats for value in array[~np.isfinite(array)].tolist())
    pieces = text.split(_NULL)
    named = (decimal(value, single=False) + piece for value, piece in zip(values, pieces[1:], strict=True))
    return pieces[0] + b"".join(named)


def encode_classifications(results: Sequence[Sequence[tuple[bytes, float]]]) -> bytes:
    """The body of a :classify answer: for each example its (label, score) pairs.

    Raises ServingError: INVALID_ARGUMENT when there are no results.
    """
    if not results:
        raise invalid("Cannot convert empty ClassificationResults to JSON")
    writer = PrettyWriter()
    writer.start(array=False)
    writer.key(b"results")
    writer.start(array=True)
    for classes in results:
        writer.single_line = True
        writer.start(array=True)
        for label, score in classes:
            writer.start(array=True)
            writer.raw(quote(label))
            writer.raw(decimal(score, single=True))
            writer.end()
        writer.end()
        writer.single_line = False
    writer.end()
    writer.end()
    return writer.text()


def encode_regressions(results: Sequence[float]) -> bytes:
    """The body of a :regress answer: one value for each example.

    Raises ServingError: INVALID_ARGUMENT when there are no results.
    """
    if not results:
        raise invalid("Cannot convert empty RegressionResults to JSON")
    writer = PrettyWriter(single_line=True)
    writer.start(array=False)
    writer.key(b"results")
    writer.start(array=True)
    for value in results:
        writer.raw(decimal(value, single=True))
    writer.end()
    writer.end()
    return writer.text()
