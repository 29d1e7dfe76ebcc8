"""What a record is in CSV, JSON Lines and JSON: how it is read, filtered, joined with a result, and written.

A field of CSV keeps its text, quotes included: quotes mean text, and a number is not written anew. JSON is read and
written by the standard library, which knows NaN and integers of any length.
"""

from __future__ import annotations

import json
import re
from typing import Any, Protocol

from tfsd.sagemaker.transform.errors import DataError
from tfsd.sagemaker.transform.jsonpath import JsonPath, PathError

RAW_FIELD = re.compile(rb'("(?:[^"]|"")*"[^,]*|[^,]*)(?:,|$)')
OUTPUT, INPUT = "SageMakerOutput", "SageMakerInput"  # the names that AWS's guide reserves
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class RecordFormat(Protocol):
    """One record at a time, as bytes without a line's end. `parse` raises DataError.

    `joined_by` is what stands between a record and its result where joining them needs no look inside.
    """

    by_line: bool
    joined_by: bytes | None

    def parse(self, record: bytes) -> Any: ...

    def render(self, value: Any) -> bytes: ...

    def join(self, value: Any, result: Any) -> Any: ...


class Csv:
    """A row is an array of its fields' texts, which are bytes. Newlines within fields are not supported, as in AWS."""

    by_line = True
    joined_by: bytes | None = b","

    def parse(self, record: bytes) -> list[bytes]:
        if b'"' not in record:
            return record.split(b",")
        if record.count(b'"') % 2:
            raise DataError(
                "A quoted field does not end on its line; newlines within fields are not supported."
            )
        fields, position = [], 0
        while position <= len(record):
            field = RAW_FIELD.match(record, position)
            assert field  # the last alternative matches anything
            fields.append(field[1])
            position = field.end() if field.end() > field.end(1) else len(record) + 1
        return fields

    def render(self, value: Any) -> bytes:
        return b",".join(value) if isinstance(value, list) else value

    def join(self, value: list[bytes], result: list[bytes]) -> list[bytes]:
        """The fields of the input, then those of the result."""
        return value + result


class Json:
    """A record is one JSON value: a line of it, or all that was sent."""

    joined_by: bytes | None = None

    def __init__(self, *, by_line: bool) -> None:
        self.by_line = by_line

    def parse(self, record: bytes) -> Any:
        try:
            return json.loads(record.removeprefix(BYTE_ORDER_MARK))
        except ValueError as error:  # text that is not UTF-8, too
            raise DataError(f"A record is not JSON: {error}.") from error

    def render(self, value: Any) -> bytes:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

    def join(self, value: Any, result: Any) -> Any:
        """An object with one more attribute, or an object of both if the input is none."""
        return {**value, OUTPUT: result} if isinstance(value, dict) else {INPUT: value, OUTPUT: result}


def of_content_type(content_type: str, split_type: str) -> RecordFormat | None:
    """The format of a media type (its parameters mean nothing here); None for one that cannot be processed."""
    match content_type.partition(";")[0].strip().lower():
        case "text/csv":
            return Csv()
        case "application/jsonlines":
            return Json(by_line=True)
        case "application/json":
            return Json(by_line=split_type == "Line")
    return None


def filtered(record_format: RecordFormat, path: JsonPath, record: bytes) -> bytes:
    """What `path` leaves of a record. Raises DataError."""
    if path.everything:
        return record
    return record_format.render(select(path, record_format.parse(record)))


def select(path: JsonPath, value: Any) -> Any:
    """`path.select` with DataError for its errors."""
    try:
        return path.select(value)
    except PathError as error:
        raise DataError(f"The filter {path.text} does not fit a record: {error}.") from error
