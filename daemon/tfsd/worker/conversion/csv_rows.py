"""Reading of CSV: from text to rows of fields.

Owns the grammar (RFC 4180, with the leniencies of the hosting contract, section 9). What a field means is
not decided here. The standard library's csv module is not used because it does not tell `"1"` from `1`.
"""

import re
from collections.abc import Iterator

from tfsd.errors import BadRequest

QUOTED = '"'

_line = re.compile(r"[^\r\n]*").match
_line_end = re.compile(r"\r\n|\r|\n|\Z").match
# A quoted field up to its closing quote, or an unquoted one. The possessive repeats make a missing
# quote cost one pass.
_FIELD = r'(?:[ \t]*+("[^"]*+(?:""[^"]*+)*+)"[ \t]*+(?![^,\r\n])|([^,\r\n]*+))'
_field = re.compile(_FIELD).match
_fields_after_commas = re.compile("," + _FIELD).findall


def rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row's line number, counted from 1, and its fields; lines without a character are skipped.

    An unquoted field is yielded as it was written, blanks included. A quoted one is yielded as `QUOTED`
    followed by its value, which no unquoted field can begin with; blanks around the quotes are ignored. A
    quote inside an unquoted field is text.

    Raises:
        BadRequest: a quote that is never closed, or text after a closing quote; the message names the line.
    """
    number, position = 1, 0
    while position < len(text):
        end = _line(text, position).end()  # type: ignore[union-attr]
        line = text[position:end]
        if '"' not in line:
            if line:
                yield number, line.split(",")
        elif fields := _fields_of_line(line):
            yield number, fields
        else:
            fields, end = _fields_over_lines(text, position, number)
            yield number, fields
            number += sum(map(_count_line_ends, fields))
        number += 1
        position = _line_end(text, end).end()  # type: ignore[union-attr]


def _fields_of_line(line: str) -> list[str]:
    """The fields of a row that ends with its line; none if quotes are still open there."""
    fields: list[str] = []
    for quoted, plain in _fields_after_commas("," + line):
        if '"' in plain and _opens_quotes(plain):
            return []
        fields.append(_unescaped(quoted) if quoted else plain)
    return fields


def _fields_over_lines(text: str, position: int, number: int) -> tuple[list[str], int]:
    """The fields of the row that begins at `position`, on line `number`, and the position of its end."""
    fields: list[str] = []
    while True:
        match = _field(text, position)
        assert match is not None  # an unquoted field may be empty
        quoted, plain = match.groups()
        if quoted is None and _opens_quotes(plain):
            line = number + sum(map(_count_line_ends, fields))
            raise BadRequest(
                f"Line {line}, field {len(fields) + 1}: its quotes do not end the field. Close the quotes"
                ' before the comma or the end of the line, and write a quote inside them as "".'
            )
        fields.append(plain if quoted is None else _unescaped(quoted))
        position = match.end()
        if text[position : position + 1] != ",":
            return fields, position
        position += 1


def _opens_quotes(field: str) -> bool:
    return field.lstrip(" \t").startswith('"')


def _unescaped(quoted: str) -> str:
    return QUOTED + quoted[1:].replace('""', '"') if '""' in quoted else quoted


def _count_line_ends(text: str) -> int:
    """CR, LF and CRLF are one line end each."""
    return text.count("\n") + text.count("\r") - text.count("\r\n")
