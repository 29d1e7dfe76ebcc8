"""What is wrong with a JSON text, as RapidJSON says it: its grammar, messages and offsets.

Reads the few bytes around a place that the scanner did not take, never a whole body and no values.
"""

from __future__ import annotations

import math
import re
from typing import NoReturn

from tfsd.model_server.codec.structure import innermost, last_mark
from tfsd.model_server.errors import ServingError, invalid

_SPACE = re.compile(rb"[ \n\r\t]*")
#: Some of the inside of a string, as far as it is right: of all of it, each escape would be kept to go back to. It is
#: not repeated possessively, since Python before 3.11.5 then goes on in the midst of an escape that is wrong.
_INSIDE = re.compile(
    rb'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u(?![dD][89abAB])[0-9a-fA-F]{4}'
    rb"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})){1,1000}"
)
_NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_HEX4 = re.compile(rb"[0-9a-fA-F]{4}")
_LITERALS = {b"n": b"null", b"t": b"true", b"f": b"false"}
#: Significant digits that RapidJSON keeps of a fraction, and the largest decimal exponent of a double.
KEPT_DIGITS, MAX_EXPONENT = 17, 308


def parse_error(message: str, offset: int) -> ServingError:
    """The error of a body that is no JSON; `offset` in bytes."""
    return invalid(f"JSON Parse error: {message} at offset: {offset}")


def is_too_big(number: str) -> bool:
    """Whether RapidJSON takes a number for too big: no double holds it, or its exponent alone is too large."""
    if math.isinf(float(number)):
        return True
    mantissa, _, exponent = number.lower().partition("e")
    digits = mantissa.partition(".")[2]
    kept = min(len(digits), KEPT_DIGITS + len(digits) - len(digits.lstrip("0")))
    return bool(exponent) and exponent[0] != "-" and int(exponent[:20]) > MAX_EXPONENT + kept


def check_at(body: bytes, blanked: bytes, offset: int) -> int:
    """Look at a body that is well formed up to a value, name or mark at `offset`.

    Args:
        blanked: as `structure.blank_strings` gives it.
    Returns: where the scalar ends.
    Raises ServingError: INVALID_ARGUMENT, unless it is well formed there as well and is only a scalar.
    """
    reader = _Reader(body, blanked, offset)
    reader.read()
    if reader.mark:
        raise parse_error("Invalid value.", offset)
    return reader.at


class _Reader:
    """Reads from the last bracket or comma before the error, in the container that is open there."""

    def __init__(self, body: bytes, blanked: bytes, offset: int) -> None:
        self.body = body
        mark = last_mark(blanked, offset)
        self.at = mark + 1
        self.mark = body[mark : mark + 1] if mark >= 0 else b""
        self.in_object = innermost(blanked, mark + 1) == b"{"

    def fail(self, message: str, offset: int | None = None) -> NoReturn:
        raise parse_error(message, self.at if offset is None else offset)

    def peek(self) -> bytes:
        """The next byte; a NUL at the end of the body, which RapidJSON cannot tell from a real one."""
        return self.body[self.at : self.at + 1] or b"\0"

    def space(self) -> None:
        self.at = _SPACE.match(self.body, self.at).end()  # type: ignore[union-attr]

    def read(self) -> None:
        """Raises ServingError: the error, if there is one before the next bracket or comma is passed."""
        self.space()
        if self.mark not in (b"]", b"}"):
            if self.in_object and self.mark:
                self.name()
            self.value()
        if self.mark:
            self.separator()

    def separator(self) -> None:
        self.space()
        found = self.peek()
        if self.in_object and found not in b",}":
            self.fail("Missing a comma or '}' after an object member.")
        if not self.in_object and found not in b",]":
            self.fail("Missing a comma or ']' after an array element.")

    def name(self) -> None:
        if self.peek() != b'"':
            self.fail("Missing a name for object member.")
        self.string()
        self.space()
        if self.peek() != b":":
            self.fail("Missing a colon after a name of object member.")
        self.at += 1
        self.space()

    def value(self) -> None:
        first = self.peek()
        if first == b'"':
            self.string()
        elif first in _LITERALS:
            self.expect(_LITERALS[first])
        else:
            self.number()

    def expect(self, text: bytes) -> None:
        for position in range(len(text)):
            if self.peek() != text[position : position + 1]:
                self.fail("Invalid value.")
            self.at += 1

    def string(self) -> None:
        self.at += 1
        while right := _INSIDE.match(self.body, self.at):
            self.at = right.end()
        found = self.peek()
        if found == b"\\":
            self.escape()
        if found == b"\0":
            self.fail("Missing a closing quotation mark in string.")
        if found != b'"':
            self.fail("Invalid escape character in string.")
        self.at += 1

    def escape(self) -> NoReturn:
        """A backslash with which something is wrong."""
        escape = self.body[self.at : self.at + 12]
        if escape[1:2] != b"u":
            self.fail("Invalid escape character in string.")
        if _HEX4.match(escape, 2) is None or (escape[6:8] == b"\\u" and _HEX4.match(escape, 8) is None):
            self.fail("Incorrect hex digit after \\u escape in string.")
        self.fail("The surrogate pair in string is invalid.")

    def number(self) -> None:
        start = self.at
        match = _NUMBER.match(self.body, start)
        if match is None:
            self.named_number()
            return
        self.at = match.end()
        fraction, exponent = match[2], match[3]
        following = self.peek()
        if fraction is None and exponent is None and following == b".":
            self.fail("Miss fraction part in number.", self.at + 1)
        if exponent is None and following in b"eE":
            sign = self.body[self.at + 1 : self.at + 2]
            self.fail("Miss exponent in number.", self.at + (2 if sign and sign in b"+-" else 1))
        if is_too_big(match[0].decode()):
            self.fail("Number too big to be stored in double.", start)

    def named_number(self) -> None:
        self.at += self.peek() == b"-"
        first = self.peek()
        if first == b"N":
            self.expect(b"NaN")
            return
        if first != b"I":
            self.fail("Invalid value.")
        self.expect(b"Inf")
        if self.peek() == b"i":
            self.expect(b"inity")
