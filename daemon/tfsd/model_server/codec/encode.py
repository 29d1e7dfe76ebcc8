"""Results to response bodies: predictions in row and column format, classifications, regressions.

Owns the layout of answers. Small ones have the real server's bytes (but for the order of outputs, which it
does not fix either); large ones are the same JSON without blanks, from orjson.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import add
from typing import Any

import numpy as np
import orjson

from tfsd.model_server.codec.dtypes import dtype_name, has_json_form
from tfsd.model_server.codec.text import PrettyWriter, decimals, quote
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

#: Writes one value.
_Write = Callable[[PrettyWriter, bytes], None]


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
        if len(array) and not _is_base64(name, array):  # without a call for each mark
            return b'{\n    "predictions": [%b\n    ]\n}' % b", ".join(_rows(array))
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
    columns: list[tuple[bytes, Iterator[bytes], tuple[int, ...], _Write]] = []
    for name, array in outputs.items():
        if _is_base64(name, array):
            columns.append((name.encode(), iter(array.ravel().tolist()), array.shape[1:], _write_base64))
        else:
            columns.append((name.encode(), iter(_rows(array)), (), PrettyWriter.raw))
    writer.start(array=True)
    for _ in next(iter(outputs.values())):
        if named:
            writer.start(array=False)
        writer.single_line = True
        for key, values, shape, write in columns:
            if named:
                writer.key(key)
            _write_nested(writer, values, shape, write)
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
        if _is_base64(name, array):
            _write_nested(writer, iter(array.ravel().tolist()), array.shape, _write_base64)
        else:
            _write_nested(writer, iter(_texts(array)), array.shape, PrettyWriter.raw)
    if len(outputs) > 1:
        writer.end()


def _write_nested(
    writer: PrettyWriter, values: Iterator[bytes], shape: tuple[int, ...], write: _Write
) -> None:
    """Write as many values as an array of that shape has."""
    if not shape:
        write(writer, next(values))
        return
    writer.start(array=True)
    for _ in range(shape[0]):
        _write_nested(writer, values, shape[1:], write)
    writer.end()


def _write_base64(writer: PrettyWriter, value: bytes) -> None:
    writer.start(array=False)
    writer.key(b"b64")
    writer.raw(quote(base64.b64encode(value)))
    writer.end()


def _is_base64(name: str, array: np.ndarray) -> bool:
    """Whether the values of an output are objects with base64."""
    return array.dtype.kind == "O" and name.endswith(_BYTES_SUFFIX)


def _rows(array: np.ndarray) -> list[bytes]:
    """The texts of the rows of an array, each on one line."""
    texts, shape = _texts(array), array.shape
    for rank in range(len(shape) - 1, 0, -1):
        size = shape[rank]
        groups = (texts[at * size : (at + 1) * size] for at in range(math.prod(shape[:rank])))
        texts = [b"[%b]" % b", ".join(group) for group in groups]
    return texts


def _texts(array: np.ndarray) -> list[bytes]:
    """The texts of all values, in order."""
    values, kind = array.ravel().tolist(), array.dtype.kind
    if kind == "f":
        return decimals(values, single=array.dtype == np.float32)
    if kind == "O":
        return list(map(quote, values))
    return list(map(_TRUTH.__getitem__ if kind == "b" else b"%d".__mod__, values))


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
    values = [value for array in floats for value in array[~np.isfinite(array)].tolist()]
    pieces = text.split(_NULL)
    return pieces[0] + b"".join(map(add, decimals(values, single=False), pieces[1:]))


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
        scores = decimals([score for _, score in classes], single=True)
        for (label, _), score in zip(classes, scores, strict=True):
            writer.start(array=True)
            writer.raw(quote(label))
            writer.raw(score)
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
    for value in decimals(list(results), single=True):
        writer.raw(value)
    writer.end()
    writer.end()
    return writer.text()
