"""Inference requests of the Open Inference Protocol, from bytes to arrays.

Owns the form of a request: JSON, and the extension by which tensors follow it in binary. Knows no model and no
signature. The rules are those of the protocol's pages "Inference Protocol" and "Binary Tensor Data Extension".
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from tfsd.errors import BadRequest, PayloadTooLarge
from tfsd.tensors import values
from tfsd.tensors.dtypes import BY_V2, DT_STRING, DType
from tfsd.tensors.values import Array, NoArray
from tfsd.worker.conversion import limits

MAX_JSON_BYTES = 64 << 20  # JSON takes many times its size in memory while it is read; binary tensors do not
MAX_TENSORS = 1024  # inputs, and outputs, of a request
MAX_RANK = 64  # numpy's
_SIZE = struct.Struct("<I")  # precedes each element of a BYTES tensor


@dataclasses.dataclass(frozen=True, slots=True)
class Input:
    """One input: its dtype and, as `tensors.values` has them, its values."""

    dtype: DType
    array: Array


@dataclasses.dataclass(frozen=True, slots=True)
class InferRequest:
    """A request. `outputs` has the outputs that are asked for and whether each is wanted in binary; empty: all of them,
    in binary or not as `binary` says."""

    inputs: Mapping[str, Input]
    outputs: Mapping[str, bool]
    binary: bool
    parameters: Mapping[str, Any]
    id: str | None


def parse(body: bytes, json_length: str | None) -> InferRequest:
    """Read a request's body; `json_length` is its header Inference-Header-Content-Length, if it has one.

    Raises BadRequest: it is not what the protocol says, with the place. PayloadTooLarge: more JSON than is read.
    """
    size = _json_size(json_length, len(body))
    if size > MAX_JSON_BYTES:
        raise PayloadTooLarge(
            f"The request's JSON has {size} bytes; more than {MAX_JSON_BYTES} are not read. Send the tensors in binary "
            "(binary_data_size)."
        )
    document = _object(_document(body[:size]), "The request")
    parameters = _object(document.get("parameters", {}), "parameters")
    binary = _flag(parameters, "binary_data_output", "parameters", False)
    rest = memoryview(body)[size:]
    inputs: dict[str, Input] = {}
    for index, entry in enumerate(_list(document, "inputs")):
        where = f"inputs[{index}]"
        name = _text(_object(entry, where), "name", where)
        if name in inputs:
            raise BadRequest(f"There are several inputs named {name!r}; an input is sent once.")
        inputs[name], rest = _input(entry, name, rest)
    if not inputs:
        raise BadRequest("The request has no inputs; each is an object with name, datatype, shape and data.")
    if rest:
        raise BadRequest(f"{len(rest)} bytes follow the request's JSON that no binary_data_size speaks of.")
    given = document.get("id")
    if given is not None and not isinstance(given, str):
        raise BadRequest("id must be a string.")
    return InferRequest(inputs, _outputs(document, binary), binary, parameters, given)


def _json_size(header: str | None, size: int) -> int:
    if header is None:
        return size
    if not (header.isascii() and header.isdigit() and len(header) < 20) or int(header) > size:
        raise BadRequest(
            f"Inference-Header-Content-Length is {header[:40]!r}, which is no number of bytes that the body's {size} "
            "can begin with."
        )
    return int(header)


def _document(text: bytes) -> Any:
    limits.check(text)
    try:
        return orjson.loads(text)
    except ValueError as error:
        if b"NaN" not in text and b"Infinity" not in text:
            raise BadRequest(f"The request is not JSON: {error}.") from None
    try:  # numbers of TensorFlow Serving's JSON, that no standard has
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The request is not JSON: {error}.") from None


def _input(entry: Mapping[str, Any], name: str, rest: memoryview) -> tuple[Input, memoryview]:
    """One input, and what follows its binary values, if it has any."""
    where = f"Input {name!r}"
    dtype = BY_V2.get(_text(entry, "datatype", where))
    if dtype is None:
        raise BadRequest(f"{where} has an unknown datatype; there are {', '.join(sorted(BY_V2))}.")
    shape = _shape(entry, where)
    parameters = _object(entry.get("parameters", {}), f"{where}'s parameters")
    if "shared_memory_region" in parameters:
        raise BadRequest(f"{where} is in shared memory, which is not supported; send its values.")
    size = parameters.get("binary_data_size")
    if size is None:
        return Input(dtype, _of_json(entry, name, dtype, shape)), rest
    if type(size) is not int or not 0 <= size <= len(rest):
        raise BadRequest(
            f"{where} has a binary_data_size of {size!r:.40}; {len(rest)} bytes are left for it."
        )
    if "data" in entry:
        raise BadRequest(f"{where} has data as well as a binary_data_size; send one of them.")
    return Input(dtype, _of_binary(rest[:size], name, dtype, shape)), rest[size:]


def _of_json(entry: Mapping[str, Any], name: str, dtype: DType, shape: tuple[int, ...]) -> Array:
    """The values of `data`, which is a list in C order, or lists in lists of that shape."""
    where = f"Input {name!r}"
    data = _list(entry, "data", where)
    if data is None:
        raise BadRequest(f"{where} has neither data nor a binary_data_size.")
    kind = np.dtype(dtype.numpy)
    types = _types(data, where, {str} if kind.kind == "O" else {int, float, bool})
    # of whole numbers numpy would make floating ones where no int64 holds them all
    made = kind if kind.kind == "O" or (types == {int} and kind.kind in "iuf") else None
    try:
        array = np.array(data, made)
    except ValueError:
        raise BadRequest(f"{where}: the lists of data are not of the same lengths.") from None
    except OverflowError:
        raise BadRequest(
            f"{where} expects {values.readable(dtype.number)}; some values do not fit."
        ) from None
    if array.size == 0:
        array = np.empty(array.shape, dtype.numpy)
    _check_count(where, array.size, shape)
    if array.ndim > 1 and array.shape != shape:
        raise BadRequest(f"{where} has the shape {list(shape)}, its data {list(array.shape)}.")
    return values.cast(array, dtype.number, name).reshape(shape)


def _types(data: list[Any], where: str, allowed: set[type]) -> set[type]:
    """The types of all values in lists and lists in lists. Raises BadRequest for any that is not allowed: numpy would
    make an array of the longest text's width of a list that has both text and numbers."""
    found: set[type] = set()
    lists = [data]
    while lists:
        one = lists.pop()
        types = set(map(type, one))
        if types == {list}:
            lists.extend(one)
        elif types <= allowed:
            found |= types
        else:
            what = "text" if str in allowed else "numbers"
            raise BadRequest(f"{where}: data must be {what}, or lists of the same lengths.")
    return found


def _of_binary(data: memoryview, name: str, dtype: DType, shape: tuple[int, ...]) -> Array:
    where = f"Input {name!r}"
    if dtype.number == DT_STRING:
        items = _elements(data, where)
        _check_count(where, len(items), shape)
        array = np.empty(len(items), np.object_)
        array[:] = items
        return array.reshape(shape)
    try:
        return values.from_content(data, dtype.number, shape)
    except NoArray as error:
        raise BadRequest(f"{where}: {error}.") from None


def _elements(data: memoryview, where: str) -> list[bytes]:
    """The elements of a BYTES tensor: each after its length in 4 bytes, little endian."""
    found: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + _SIZE.size
        at = start + (_SIZE.unpack_from(data, at)[0] if start <= len(data) else 0)
        if at > len(data) or start > len(data):
            raise BadRequest(f"{where}: element {len(found)} of its binary data is cut short.")
        found.append(bytes(data[start:at]))
    return found


def _check_count(where: str, count: int, shape: tuple[int, ...]) -> None:
    wanted = math.prod(shape)
    if count != wanted:
        raise BadRequest(f"{where} has {count} values; the shape {list(shape)} takes {wanted}.")


def _shape(entry: Mapping[str, Any], where: str) -> tuple[int, ...]:
    shape = _list(entry, "shape", where)
    if shape is None or any(type(size) is not int or not 0 <= size < 2**63 for size in shape):
        raise BadRequest(f"{where} must have a shape, a list of whole numbers from 0 on.")
    if len(shape) > MAX_RANK:
        raise BadRequest(f"{where} has {len(shape)} dimensions; there may be {MAX_RANK}.")
    return tuple(shape)


def _outputs(document: Mapping[str, Any], binary: bool) -> dict[str, bool]:
    outputs: dict[str, bool] = {}
    for index, entry in enumerate(_list(document, "outputs")):
        where = f"outputs[{index}]"
        name = _text(_object(entry, where), "name", where)
        parameters = _object(entry.get("parameters", {}), f"{where}.parameters")
        for refused in ("classification", "shared_memory_region"):
            if refused in parameters:
                raise BadRequest(f"Output {name!r} asks for {refused}, which is not supported.")
        outputs[name] = _flag(parameters, "binary_data", f"{where}.parameters", binary)
    return outputs


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest(f"{where} must be an object.")
    return value


def _list(entry: Mapping[str, Any], key: str, where: str = "") -> Any:
    """The list of that key; for the request's own keys none is an empty one, and there is a limit."""
    value = entry.get(key)
    if value is None:
        return None if where else []
    if not isinstance(value, list):
        raise BadRequest(f"{where + ': ' if where else ''}{key} must be a list.")
    if not where and len(value) > MAX_TENSORS:
        raise BadRequest(f"There are {len(value)} {key}; a request may have {MAX_TENSORS}.")
    return value


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise BadRequest(f"{where} must have a {key}, a string.")
    return value


def _flag(parameters: Mapping[str, Any], key: str, where: str, default: bool) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise BadRequest(f"{where}.{key} must be true or false.")
    return value
