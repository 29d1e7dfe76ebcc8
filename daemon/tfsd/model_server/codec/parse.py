"""JSON text to values, as RapidJSON reads it: the same things accepted, the same messages and offsets.

Owns the grammar (with `NaN` and `Inf`, anything after the first value ignored). Never knows what the values
mean, and is the careful reader: `json_fast` takes well-formed bodies past it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

from tfsd.model_server.errors import ServingError, invalid

#: None, bool, int (within int64 or uint64), float, bytes (a string), list, JsonObject.
JsonValue = Any


@dataclass(slots=True)
class JsonObject:
    """An object with its members in order; a repeated name is kept, as look-up takes the first."""

    members: list[tuple[bytes, JsonValue]] = field(default_factory=list)

    def find(self, name: bytes) -> tuple[bytes, JsonValue] | None:
        """The first member of that name, or None."""
        return next((member for member in self.members if member[0] == name), None)

    def get(self, name: bytes) -> JsonValue:
        """The value of the first member of that name; None for a null and when there is none."""
        member = self.find(name)
        return member[1] if member else None


_SPACE = re.compile(rb"[ \n\r\t]*")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_HEX4 = re.compile(rb"[0-9a-fA-F]{4}")
_ESCAPES = dict(zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True))
_LITERALS = {b"n": (b"null", None), b"t": (b"true", True), b"f": (b"false", False)}
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
_MIN_NORMAL = 2.0**-1022
#: Significant digits that RapidJSON keeps of a fraction, and the largest decimal exponent of a double.
_KEPT_DIGITS, _MAX_EXPONENT = 17, 308


def parse_error(message: str, offset: int) -> ServingError:
    """The error of a body that is no JSON; `offset` in bytes."""
    return invalid(f"JSON Parse error: {message} at offset: {offset}")


def parse(body: bytes) -> JsonValue:
    """The first JSON value of a body. What follows it is not looked at.

    Raises ServingError: INVALID_ARGUMENT `JSON Parse error: ...`.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    return _Parser(body).document()


class _Parser:
    """One pass over one body; containers are kept on a list, so that depth costs no Python stack."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    def fail(self, message: str, offset: int | None = None) -> NoReturn:
        raise parse_error(message, self.at if offset is None else offset)

    def peek(self) -> bytes:
        """The next byte; a NUL at the end of the body, which RapidJSON cannot tell from a real one."""
        return self.body[self.at : self.at + 1] or b"\0"

    def space(self) -> None:
        self.at = _SPACE.match(self.body, self.at).end()  # type: ignore[union-attr]

    def document(self) -> JsonValue:
        for byte in (b"\xef", b"\xbb", b"\xbf"):  # each byte of a byte order mark is skipped by itself
            self.at += self.peek() == byte
        self.space()
        if self.peek() == b"\0":
            self.fail("The document is empty.")
        open_: list[list[Any] | JsonObject] = []
        names: list[bytes] = []
        while True:
            value, opened = self.value()
            if opened:
                open_.append(value)
                if self.closes(value):
                    open_.pop()
                else:
                    if isinstance(value, JsonObject):
                        names.append(self.name())
                    continue
            while open_:  # put the finished value where it belongs, and see what follows it
                parent = open_[-1]
                if isinstance(parent, JsonObject):
                    parent.members.append((names.pop(), value))
                else:
                    parent.append(value)
                if self.separated(parent):
                    if isinstance(parent, JsonObject):
                        names.append(self.name())
                    break
                value = open_.pop()
            else:
                return value

    def closes(self, container: list[Any] | JsonObject) -> bool:
        """After the opening bracket: whether the container is empty."""
        self.space()
        if self.peek() != (b"}" if isinstance(container, JsonObject) else b"]"):
            return False
        self.at += 1
        return True

    def separated(self, container: list[Any] | JsonObject) -> bool:
        """After an element: True at a comma (which is taken), False at the closing bracket (taken too)."""
        self.space()
        found = self.peek()
        if found == b",":
            self.at += 1
            self.space()
            return True
        if isinstance(container, JsonObject):
            if found != b"}":
                self.fail("Missing a comma or '}' after an object member.")
        elif found != b"]":
            self.fail("Missing a comma or ']' after an array element.")
        self.at += 1
        return False

    def name(self) -> bytes:
        if self.peek() != b'"':
            self.fail("Missing a name for object member.")
        name = self.string()
        self.space()
        if self.peek() != b":":
            self.fail("Missing a colon after a name of object member.")
        self.at += 1
        self.space()
        return name

    def value(self) -> tuple[JsonValue, bool]:
        """The value that begins here, and whether it is a container of which only the bracket is read."""
        first = self.peek()
        if first == b'"':
            return self.string(), False
        if first == b"[":
            self.at += 1
            return [], True
        if first == b"{":
            self.at += 1
            return JsonObject(), True
        if first in _LITERALS:
            text, value = _LITERALS[first]
            self.expect(text)
            return value, False
        return self.number(), False

    def expect(self, text: bytes) -> None:
        for position in range(len(text)):
            if self.peek() != text[position : position + 1]:
                self.fail("Invalid value.")
            self.at += 1

    def string(self) -> bytes:
        self.at += 1
        parts = []
        while True:
            end = _PLAIN.match(self.body, self.at).end()  # type: ignore[union-attr]
            parts.append(self.body[self.at : end])
            self.at = end
            found = self.peek()
            if found == b'"':
                self.at += 1
                return b"".join(parts)
            if found == b"\\":
                parts.append(self.escape())
            elif found == b"\0":
                self.fail("Missing a closing quotation mark in string.")
            else:
                self.fail("Invalid escape character in string.")

    def escape(self) -> bytes:
        start = self.at
        self.at += 1
        code = self.peek()
        if code[0] in _ESCAPES:
            self.at += 1
            return bytes((_ESCAPES[code[0]],))
        if code != b"u":
            self.fail("Invalid escape character in string.", start)
        self.at += 1
        point = self.hex4(start)
        if 0xD800 <= point <= 0xDBFF:
            if self.body[self.at : self.at + 2] != b"\\u":
                self.fail("The surrogate pair in string is invalid.", start)
            self.at += 2
            low = self.hex4(start)
            if not 0xDC00 <= low <= 0xDFFF:
                self.fail("The surrogate pair in string is invalid.", start)
            point = ((point - 0xD800) << 10 | (low - 0xDC00)) + 0x10000
        return chr(point).encode("utf-8", "surrogatepass")  # a lone low surrogate is written as it is

    def hex4(self, start: int) -> int:
        match = _HEX4.match(self.body, self.at)
        if match is None:
            self.fail("Incorrect hex digit after \\u escape in string.", start)
        self.at = match.end()
        return int(match[0], 16)

    def number(self) -> int | float:
        start = self.at
        match = _NUMBER.match(self.body, start)
        if match is None:
            return self.named_number()
        self.at = match.end()
        whole, fraction, exponent = match[1], match[2], match[3]
        following = self.peek()
        if fraction is None and exponent is None and following == b".":
            self.fail("Miss fraction part in number.", self.at + 1)
        if exponent is None and following in b"eE":
            sign = self.body[self.at + 1 : self.at + 2]
            self.fail("Miss exponent in number.", self.at + (2 if sign and sign in b"+-" else 1))
        if fraction is None and exponent is None and len(whole) < 400:
            value = int(match[0])
            if _INT64_MIN <= value <= _UINT64_MAX:
                return value
        if exponent is not None:
            digits = (fraction or b".")[1:]
            kept = min(len(digits), _KEPT_DIGITS + len(digits) - len(digits.lstrip(b"0")))
            if exponent[1:2] != b"-" and int(exponent[1:21]) > _MAX_EXPONENT + kept:
                self.fail("Number too big to be stored in double.", start)
        number = float(match[0])
        if math.isinf(number):
            self.fail("Number too big to be stored in double.", start)
        # The real server's HTTP threads run with denormals flushed to zero; the sign stays.
        return number if abs(number) >= _MIN_NORMAL else math.copysign(0.0, number)

    def named_number(self) -> float:
        minus = self.peek() == b"-"
        self.at += minus
        first = self.peek()
        if first == b"N":
            self.expect(b"NaN")
            return math.nan
        if first != b"I":
            self.fail("Invalid value.")
        self.expect(b"Inf")
        if self.peek() == b"i":
            self.expect(b"inity")
        return -math.inf if minus else math.inf
