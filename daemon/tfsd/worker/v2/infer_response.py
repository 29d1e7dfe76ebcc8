"""Inference responses of the Open Inference Protocol, from arrays to bytes."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from tfsd.errors import BadRequest
from tfsd.tensors import values
from tfsd.tensors.dtypes import DT_STRING, DType
from tfsd.tensors.values import Array

JSON, BINARY = "application/json", "application/octet-stream"
JSON_LENGTH = "Inference-Header-Content-Length"


def render(
    head: Mapping[str, Any], outputs: Mapping[str, tuple[DType, Array]], binary: Mapping[str, bool]
) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body of a response.

    Args:
        head: what stands before the outputs: model_name and the like.
        outputs: dtype and values of each output, in order.
        binary: whether an output is sent in binary.
    Raises BadRequest: text that JSON cannot say.
    """
    entries: list[dict[str, Any]] = []
    pieces: list[bytes | memoryview] = []
    finite = True
    for name, (dtype, array) in outputs.items():
        entry: dict[str, Any] = {"name": name, "datatype": dtype.v2, "shape": list(array.shape)}
        if binary[name]:
            piece = _elements(array) if dtype.number == DT_STRING else values.content(array, dtype.number)
            entry["parameters"] = {"binary_data_size": len(piece)}
            pieces.append(piece)
        else:
            entry["data"] = _data(array, dtype, name)
            finite = finite and (array.dtype.kind != "f" or bool(np.isfinite(array).all()))
        entries.append(entry)
    text = _json({**head, "outputs": entries}, finite)
    if not pieces:
        return [("Content-Type", JSON)], text
    return [("Content-Type", BINARY), (JSON_LENGTH, str(len(text)))], b"".join([text, *pieces])


def _data(array: Array, dtype: DType, name: str) -> Any:
    """An output's values in C order, for JSON."""
    flat = array.reshape(-1)
    if dtype.number != DT_STRING:
        return flat if flat.flags.aligned and flat.flags.c_contiguous else flat.copy()
    try:
        return [item.decode() for item in flat]
    except UnicodeDecodeError:
        raise BadRequest(
            f"Output {name!r} has bytes that are not UTF-8, which JSON cannot say; ask for it with binary_data."
        ) from None


def _json(document: dict[str, Any], finite: bool) -> bytes:
    if finite:
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    # NaN and Infinity as TensorFlow Serving writes them: JSON has no word for them
    return json.dumps(document, default=_numbers).encode()


def _numbers(array: Array) -> list[Any]:
    if array.dtype.kind == "f" and array.dtype.itemsize < 8:  # 0.1, not 0.10000000149011612
        return [float(str(value)) if math.isfinite(value) else float(value) for value in array]
    found: list[Any] = array.tolist()
    return found


def _elements(array: Array) -> bytes:
    """A BYTES tensor: each element after its length in 4 bytes, little endian."""
    return b"".join([struct.pack("<I", len(item)) + item for item in array.reshape(-1)])
