"""From CSV text to the model server's REST body.

Owns what a field means (number, text or missing) and how rows become instances (hosting contract, section
9). How fields are found is `csv_rows`'.
"""

import re
from collections.abc import Callable, Iterator
from json.encoder import encode_basestring as json_string

import msgspec

from tfsd.errors import BadRequest
from tfsd.worker.conversion import csv_rows

_blank_lines = re.compile(rb"\n\n+").sub
_IN_NUMBERS = b"0123456789+-.eE \t"
_check: Callable[[bytes], object] = msgspec.json.Decoder(msgspec.Raw).decode
_json_number = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch
_number = re.compile(r"([+-]?)(?:([0-9]+)(?:(\.)([0-9]*))?|\.([0-9]+))([eE][+-]?[0-9]+)?").fullmatch
_needs_quotes = re.compile(r'[",\r\n]').search
_AMBIGUOUS = frozenset(["", csv_rows.QUOTED, *" \t0123456789+-.nNiI"])  # first characters
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "infinity": "Infinity"}


def to_instances(text: bytes, header: bool) -> bytes:
    """Turn CSV into the model server's REST body, one instance a row.

    A row of one field is a scalar, of several a list; with `header` each row is an object keyed by the first
    row. Each field is judged by itself, so `1,abc` is `[1,"abc"]`: numbers are numbers, NaN and Infinity in
    any usual case included, blanks around them ignored; quoted or other fields are text, blanks kept. A
    number's digits reach the model server as written. An empty field is empty text, unless its row otherwise
    holds only numbers, where it is refused.

    Args:
        text: UTF-8 without a byte order mark; lines end with CR, LF or CRLF, blank ones are skipped.
        header: whether the first row names the columns.

    Raises:
        BadRequest: no rows, rows of different lengths, a missing number, quotes that do not match, columns
            without a name or with the same; the message names the line.
    """
    converted = None if header else _numbers(text)
    if converted is None:
        instances = ",".join(_instances(text.decode(), header))
        if not instances:
            raise BadRequest("Line 1: the body has no rows; send at least one line of CSV.")
        converted = f'{{"instances":[{instances}]}}'.encode()
    return converted


def to_field(text: str) -> str:
    """A field that is read as this string: quoted where it would be taken for a number, or for none, or for several."""
    plain = _value(text).startswith('"') and not _needs_quotes(text)
    return text if plain else '"' + text.replace('"', '""') + '"'


def _numbers(text: bytes) -> bytes | None:
    """The REST body for rows of equally many JSON numbers, in a few passes in C; None for anything else."""
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    text = text.strip(b"\n")
    if b"\n\n" in text:
        text = _blank_lines(b"\n", text)
    if not text.strip():
        return None
    separators = text.translate(None, _IN_NUMBERS) + b"\n"
    first_row = separators[: separators.index(b"\n") + 1]
    if first_row.strip(b",") != b"\n" or separators != first_row * (len(separators) // len(first_row)):
        return None
    if len(first_row) == 1:
        array = b"[" + text.replace(b"\n", b",") + b"]"
    else:
        array = b"[[" + text.replace(b"\n", b"],[") + b"]]"
    try:
        _check(array)
    except msgspec.DecodeError:
        return None
    return b'{"instances":' + array + b"}"


def _instances(text: str, header: bool) -> Iterator[str]:
    names: list[str] | None = None
    first_line, width = 0, 0
    for line, fields in csv_rows.rows(text):
        if not width:
            first_line, width = line, len(fields)
            if header:
                names = [json_string(name) + ":" for name in _column_names(fields, line)]
                continue
        elif len(fields) != width:
            if len(fields) == 1 and not fields[0].strip(" \t"):
                continue
            raise BadRequest(
                f"Line {line} has {len(fields)} fields and line {first_line} has {width}; every row needs"
                " as many fields as the first."
            )
        values = _row(fields, line)
        if names is not None:
            yield "{" + ",".join([name + value for name, value in zip(names, values, strict=True)]) + "}"
        elif width == 1:
            yield values[0]
        else:
            yield "[" + ",".join(values) + "]"


def _row(fields: list[str], line: int) -> list[str]:
    # The first character tells most fields apart, at a fraction of the cost of the patterns in _value.
    values = [
        json_string(field)
        if (first := field[:1]) not in _AMBIGUOUS
        else json_string(field[1:])
        if first == csv_rows.QUOTED
        else _value(field)
        for field in fields
    ]
    if "" in values:
        numbers = [value for value in values if value and value[0] != '"']
        if numbers and len(numbers) + values.count("") == len(values):
            raise BadRequest(
                f"Line {line}, field {values.index('') + 1}: empty in a row of numbers; write a number, or"
                ' NaN for a missing one, or "" for empty text.'
            )
        values = [value or json_string(field) for value, field in zip(values, fields, strict=True)]
    return values


def _value(field: str) -> str:
    """An unquoted field as JSON; empty if there is nothing but blanks in it."""
    if _json_number(field):
        return field
    bare = field.strip(" \t")
    if not bare:
        return ""
    match = _number(bare)
    if match:
        sign, whole, point, fraction, bare_fraction, exponent = match.groups()
        whole = (whole or "").lstrip("0") or "0"
        decimals = "." + (fraction or bare_fraction or "0") if point or bare_fraction else ""
        return ("-" if sign == "-" else "") + whole + decimals + (exponent or "")
    name = _NOT_FINITE.get(bare[bare[0] in "+-" :].lower())
    if name:
        return "-" + name if name == "Infinity" and bare[0] == "-" else name
    return json_string(field)


def _column_names(fields: list[str], line: int) -> list[str]:
    names = [name[1:] if name.startswith(csv_rows.QUOTED) else name.strip(" \t") for name in fields]
    seen: set[str] = set()
    for name in names:
        if not name:
            raise BadRequest(
                f"Line {line}: column {len(seen) + 1} has no name; header=present needs all names."
            )
        if name in seen:
            raise BadRequest(
                f"Line {line}: two columns are named {name[:100]!r}; each needs a name of its own."
            )
        seen.add(name)
    return names
