"""From a model server's answer to one prediction a line, as JSON or as CSV.

Owns the forms of an answer (`predictions`, `results`, `outputs`) and how one prediction is written. Numbers
keep their values, and strings that are not UTF-8, which the model server may send, keep their bytes.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from tfsd.worker.conversion import csv_instances

UNNAMED = "prediction"  # of a column: the model server does not name a model's only output
_RAW_BYTES = "surrogateescape"

_line_break = re.compile(rb"[\r\n][ \t\r\n]*")
_numeric_answer = re.compile(
    rb'\s*\{\s*"(?:predictions|results)"\s*:\s*(\[[][0-9+\-.eE,\sNaInfity]*\])\s*\}\s*'
)
_not_numeric = re.compile(rb'["{n]|\[\]').search  # text, objects, null, empty lists
_long_number = re.compile(rb"\d{20}").search
_json_string = json.JSONEncoder(ensure_ascii=False).encode


class _Number(str):
    """A number, NaN or Infinity as the model server wrote it."""


_parse = json.JSONDecoder(parse_float=_Number, parse_int=_Number, parse_constant=_Number).decode


def to_one_line(answer: bytes) -> bytes:
    """The same JSON document on one line, without a line end. A line end inside a string is always escaped."""
    return _line_break.sub(b"", answer)


def to_json_lines(answer: bytes) -> bytes | None:
    """One prediction a line as JSON, each line ended by LF. See `_predictions` for what a prediction is.

    Returns None for an answer that has no predictions to put on lines.
    """
    tensor = _numeric_tensor(answer)
    if tensor is not None:
        array, inner = tensor
        lines = array[1:-1].replace(b"]" * inner + b"," + b"[" * inner, b"]" * inner + b"\n" + b"[" * inner)
        return lines + b"\n"
    return _write_fast(answer, orjson.dumps) or _write(answer, _json)


def to_csv(answer: bytes) -> bytes | None:
    """One prediction a line as CSV, each line ended by LF, without a header.

    A scalar is one field, a list one field per element; nested lists are flattened in row-major order, and
    an object gives its values in the order of their names. Text is quoted where it would otherwise be read
    as several fields or as a number. See `_predictions` for what a prediction is.

    Returns None for an answer that has no predictions to put on lines.
    """
    tensor = _numeric_tensor(answer)
    if tensor is not None:
        array, inner = tensor
        return array.replace(b"]" * inner + b"," + b"[" * inner, b"\n").translate(None, b"[]") + b"\n"
    return _write_fast(answer, _numeric_fields) or _write(
        answer, lambda prediction: ",".join(_fields(prediction))
    )


def csv_header(answer: bytes) -> bytes | None:
    """The header row for `to_csv`, ended by LF, after the first prediction; None where there is none.

    An object's columns are named as its values, in the order of their names; what has no name is `prediction`. The
    elements of a list are numbered: `scores_0`, `scores_1`, `prediction_0_1`.
    """
    try:
        predictions = _predictions(_parse(answer.decode(errors=_RAW_BYTES)))
    except (ValueError, RecursionError):
        return None
    if not predictions:
        return None
    names = map(csv_instances.to_field, _columns("", predictions[0]))
    return (",".join(names) + "\n").encode(errors=_RAW_BYTES)


def _columns(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _columns(f"{name}_{key}" if name else key, value[key])
    elif isinstance(value, list):
        for index, element in enumerate(value):
            yield from _columns(f"{name or UNNAMED}_{index}", element)
    else:
        yield name or UNNAMED


def _numeric_tensor(answer: bytes) -> tuple[bytes, int] | None:
    """A purely numeric answer's array without blanks, and the rank of one prediction in it.

    Takes a few passes in C. None for anything but equally shaped predictions; these take the longer way.
    """
    match = _numeric_answer.fullmatch(answer)
    if not match:
        return None
    array = match[1].translate(None, b" \t\r\n")
    rank = len(array) - len(array.lstrip(b"["))
    skeleton = array.translate(None, b"0123456789+-.eENaInfity")
    return (array, rank - 1) if b"[]" not in array and _is_tensor(skeleton, rank) else None


def _is_tensor(skeleton: bytes, rank: int) -> bool:
    """Whether brackets and commas are those of a tensor of this rank: equal parts at each level."""
    if rank == 0:
        return not skeleton
    parts = skeleton[1:-1] + b","
    part = parts[: parts.find(b"]" * (rank - 1) + b",") + rank]
    return parts == part * (len(parts) // len(part)) and _is_tensor(part[:-1], rank - 1)


class _NotNumeric(ValueError):
    """A prediction whose fields are not all numbers."""


def _write_fast(answer: bytes, write: Callable[[Any], bytes]) -> bytes | None:
    """A line for each prediction, at a tenth of the general way's cost; None when that has to be taken.

    orjson refuses what only the general way can read: NaN, Infinity, strings that are not UTF-8. It would
    round integers of more than 64 bits.
    """
    if _long_number(answer):
        return None
    try:
        predictions = _predictions(orjson.loads(answer))
        return b"\n".join([*map(write, predictions), b""]) if predictions else None
    except ValueError:
        return None


def _numeric_fields(prediction: Any) -> bytes:
    """One prediction of numbers as CSV. Raises _NotNumeric."""
    if isinstance(prediction, dict):
        prediction = [prediction[name] for name in sorted(prediction)]
    text = orjson.dumps(prediction)
    if _not_numeric(text):
        raise _NotNumeric
    return text.translate(None, b"[]")


def _write(answer: bytes, write: Callable[[Any], str]) -> bytes | None:
    try:
        predictions = _predictions(_parse(answer.decode(errors=_RAW_BYTES)))
        if predictions is None:
            return None
        return "".join([write(prediction) + "\n" for prediction in predictions]).encode(errors=_RAW_BYTES)
    except (ValueError, RecursionError):
        return None


def _predictions(document: Any) -> list[Any] | None:
    """The predictions of an answer, one per instance; None if it has none that can be told apart.

    In the column form (`outputs`) prediction i is the i-th element of the output, or an object of the i-th
    elements of all outputs; outputs that are scalars or of different lengths have no such elements.
    """
    if not isinstance(document, dict):
        return None
    rows = document.get("predictions", document.get("results"))
    outputs = document.get("outputs")
    if rows is None and isinstance(outputs, dict) and outputs:
        columns = list(outputs.values())
        if not all(isinstance(column, list) for column in columns) or len(set(map(len, columns))) != 1:
            return None
        return [dict(zip(outputs, row, strict=True)) for row in zip(*columns, strict=True)]
    rows = outputs if rows is None else rows
    return rows if isinstance(rows, list) else None


def _json(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_json_string(name)}:{_json(member)}" for name, member in value.items()) + "}"
    return value if isinstance(value, _Number) else json.dumps(value, ensure_ascii=False)


def _fields(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for element in value:
            yield from _fields(element)
    elif isinstance(value, dict):
        for name in sorted(value):
            yield from _fields(value[name])
    elif isinstance(value, str) and not isinstance(value, _Number):
        yield csv_instances.to_field(value)
    elif value is None:
        yield ""
    else:
        yield str(value) if isinstance(value, _Number) else json.dumps(value)
