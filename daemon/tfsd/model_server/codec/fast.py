"""The fast reader of :predict bodies: orjson and NumPy for what is plainly well formed, else a refusal.

Owns the proof that the result is what `decode` would give; whenever that is not plain (a key given twice, an
escape, a number that reads differently, any error) it gives up, and the careful reader decides.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from typing import Any

import numpy as np
import orjson

from tfsd.model_server.codec.decode import FindInputs, Inputs
from tfsd.model_server.codec.dense import flattened, is_dense
from tfsd.model_server.codec.dtypes import BOOL, FLOATS, INTEGERS, STRING, numpy_dtype
from tfsd.model_server.codec.values import base64_bytes, narrow
from tfsd.model_server.errors import ServingError

_ROWS, _COLUMNS, _SIGNATURE = "instances", "inputs", "signature_name"
_BIG_EXPONENT = re.compile(rb"[eE]\+?[0-9]{3}")


class _Unsure(Exception):
    """Not plainly well formed."""


class _Strings:
    """Counts the strings of a body that were seen in the parsed document.

    orjson keeps the last of repeated keys, the real server the first. Without escapes a string has exactly
    two quotation marks: when the body has more than were seen, some key was repeated. The letters of
    `true`, `false` and `null` that are not in strings give those away, which NumPy would take for numbers.
    """

    def __init__(self) -> None:
        self.count = 0
        self.letters = {b"u": 0, b"l": 0, b"I": 0, b"e": 0}

    def add(self, names: Collection[str], times: int = 1) -> None:
        self.count += times * len(names)
        text = "".join(names)
        for letter in self.letters:
            self.letters[letter] += times * text.count(letter.decode())

    def add_literals(self, array: np.ndarray) -> None:
        """Booleans that were recognized as such."""
        true = int(np.count_nonzero(array))
        self.letters[b"u"] += true
        self.letters[b"l"] += array.size - true
        self.letters[b"e"] += array.size

    def add_infinities(self, array: np.ndarray) -> None:
        """Numbers as they were read: one that overflowed has no `Infinity` in the text."""
        self.letters[b"I"] += int(np.count_nonzero(np.isinf(array)))

    def check_count(self, body: bytes | bytearray) -> None:
        """Raises _Unsure: there are more strings than were seen."""
        if body.count(b'"') != 2 * self.count:
            raise _Unsure

    def check_letters(self, body: bytes | bytearray) -> None:
        """Raises _Unsure."""
        if any(body.count(letter) != self.letters[letter] for letter in (b"u", b"l", b"I")):
            raise _Unsure
        if (body.count(b"e") != self.letters[b"e"] or b"E" in body) and _BIG_EXPONENT.search(body):
            raise _Unsure  # zero to a big exponent is an error in the real server


def decode_predict(
    body: bytes | bytearray, find_inputs: FindInputs
) -> tuple[str, bool, dict[str, np.ndarray]] | None:
    """As `decode.decode_predict`, from the bytes of a body; None when unsure or wrong."""
    try:
        return _decode(body, find_inputs)
    except (_Unsure, ServingError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _decode(body: bytes | bytearray, find_inputs: FindInputs) -> tuple[str, bool, dict[str, np.ndarray]]:
    if b"\\" in body:
        raise _Unsure
    if is_dense(body) and (flat := flattened(body)) is not None:
        return _decode_flat(body, *flat, find_inputs)
    document = _load(body)
    signature = document.get(_SIGNATURE, "")
    row_format = _ROWS in document
    values = document[_ROWS if row_format else _COLUMNS]
    if type(signature) is not str or len(document) != 1 + (_SIGNATURE in document):
        raise _Unsure
    inputs = find_inputs(signature)
    if not inputs:
        raise _Unsure
    strings = _Strings()
    strings.add(document)
    if _SIGNATURE in document:
        strings.add((signature,))
    if row_format and (type(values) is not list or not values):
        raise _Unsure
    columns = _named_rows(values, inputs, strings) if row_format else _named_columns(values, inputs, strings)
    texts = {name: _strings(columns[name], strings) for name, dtype in inputs.items() if dtype == STRING}
    # Only now: of a text among numbers NumPy would make texts as long as that one of all of them.
    strings.check_count(body)
    arrays = {
        name: texts[name] if dtype == STRING else _numbers(columns[name], dtype, strings)
        for name, dtype in inputs.items()
    }
    strings.check_letters(body)
    return signature, row_format, arrays


def _decode_flat(
    body: bytes | bytearray, key: str, elements: bytes, shape: tuple[int, ...] | None, find_inputs: FindInputs
) -> tuple[str, bool, dict[str, np.ndarray]]:
    """An array of numbers, or of booleans, for the only input."""
    ((name, dtype),) = find_inputs("").items()
    if shape is None or dtype == STRING:
        raise _Unsure
    values = _load(elements)
    if len(values) != math.prod(shape):
        raise _Unsure
    strings = _Strings()
    strings.add((key,))
    array = _numbers(values, dtype, strings).reshape(shape)
    strings.check_count(body)
    strings.check_letters(body)
    return "", key == _ROWS, {name: array}


def _load(body: bytes | bytearray) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        if b"NaN" in body or b"Infinity" in body:
            return json.loads(body.decode())
        raise


def _is_base64(value: Any) -> bool:
    return len(value) == 1 and type(value.get("b64")) is str


def _named_rows(rows: list[Any], inputs: Inputs, strings: _Strings) -> dict[str, Any]:
    """Input name -> its value in each row."""
    if type(rows[0]) is not dict or _is_base64(rows[0]):
        (name,) = inputs
        return {name: rows}
    for row in rows:
        if row.keys() != inputs.keys() or _is_base64(row):
            raise _Unsure
    strings.add(inputs, len(rows))
    return {name: [row[name] for row in rows] for name in inputs}


def _named_columns(values: Any, inputs: Inputs, strings: _Strings) -> dict[str, Any]:
    if type(values) is not dict or _is_base64(values):
        (name,) = inputs
        return {name: values}
    if values.keys() != inputs.keys():
        raise _Unsure
    strings.add(inputs)
    return values


def _numbers(value: Any, dtype: int, strings: _Strings) -> np.ndarray:
    """Numbers or booleans; there must be no string among them."""
    array = np.array(value)
    if not array.size:
        raise _Unsure
    kind = array.dtype.kind
    if dtype in FLOATS and kind in "fiu":
        array = array.astype(np.float64, copy=False)
        strings.add_infinities(array)
        return narrow(array, numpy_dtype(dtype))
    if dtype in INTEGERS and kind in "iu":
        low, high = INTEGERS[dtype]
        if int(array.min()) < low or int(array.max()) > high:
            raise _Unsure
        return array.astype(numpy_dtype(dtype), copy=False)
    if dtype == BOOL and kind == "b":
        strings.add_literals(array)
        return array
    raise _Unsure


def _strings(value: Any, strings: _Strings) -> np.ndarray:
    array = np.array(value, object)
    leaves = array.reshape(-1).tolist()
    if not leaves or not {str, dict}.issuperset(map(type, leaves)):
        raise _Unsure
    objects = [leaf for leaf in leaves if type(leaf) is dict]
    if not all(map(_is_base64, objects)):
        raise _Unsure
    strings.add(("b64",), len(objects))
    strings.add([leaf["b64"] for leaf in objects])
    strings.add([leaf for leaf in leaves if type(leaf) is str])
    result = np.empty(len(leaves), object)
    result[:] = [
        leaf.encode() if type(leaf) is str else base64_bytes(leaf["b64"].encode()) for leaf in leaves
    ]
    return result.reshape(array.shape)
