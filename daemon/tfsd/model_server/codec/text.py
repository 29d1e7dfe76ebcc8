"""JSON text as the real server writes it: the layout of its pretty writer, strings, and its two number forms.

Owns the writing of single values and of values quoted in error messages. Never decides what is written.
"""

from __future__ import annotations

import contextlib
import math
import re
import struct
from collections.abc import Sequence
from functools import cache

from tfsd.model_server.codec.long_arrays import LongArray
from tfsd.model_server.codec.octets import encode
from tfsd.model_server.codec.parse import JsonValue, is_integer, is_object, members_of

#: A value quoted in a message is cut after the token with which it grows beyond this, in bytes.
QUOTE_LIMIT = 256

_INDENT = b"    "
_UNSAFE = re.compile(rb'[\x00-\x1f"\\]')
#: Smaller doubles are zero: the real server's HTTP threads run with denormals flushed.
_MIN_NORMAL = 2.0**-1022
#: What is no number, as Python and as RapidJSON call it.
_NAMES = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_LITERALS = {None: b"null", True: b"true", False: b"false"}
_SHORT_ESCAPES = {8: b"\\b", 9: b"\\t", 10: b"\\n", 12: b"\\f", 13: b"\\r", 34: b'\\"', 92: b"\\\\"}


class _Full(Exception):
    """The limit is reached, or a value cannot be written: the text ends here."""


def _escape(match: re.Match[bytes]) -> bytes:
    byte = match[0][0]
    return _SHORT_ESCAPES.get(byte) or b"\\u%04X" % byte


def quote(text: bytes) -> bytes:
    """A JSON string; bytes that are no UTF-8 go through as they are."""
    return b'"' + _UNSAFE.sub(_escape, text) + b'"'


def decimals(values: list[float], single: bool) -> list[bytes]:
    """Floats of an answer: six digits where they read back as the same value, else 9 (`single`) or 17."""
    short = ("%.6g " * len(values) % tuple(values)).split()
    read: Sequence[float] = list(map(float, short))
    if single:
        form = f"{len(values)}f"
        read = struct.unpack(form, struct.pack(form, *read))
    if list(read) != values:
        exact = "%.9g" if single else "%.17g"
        pairs = zip(short, read, values, strict=True)
        short = [text if same == value else exact % value for text, same, value in pairs]
    return [
        (text if "." in text or "e" in text else _NAMES.get(text, text + ".0")).encode() for text in short
    ]


class PrettyWriter:
    """Writes tokens with the layout of RapidJSON's PrettyWriter.

    Attributes:
        single_line: arrays are written on one line, as in answers in row format and in messages.
    """

    def __init__(self, single_line: bool = False, limit: int | None = None) -> None:
        self.single_line = single_line
        self._limit = limit
        self._size = 0
        self._parts: list[bytes] = []
        self._levels: list[list[int | bool]] = []  # for each open container: is it an array, values so far

    def text(self) -> bytes:
        """All that was written."""
        return b"".join(self._parts)

    def _put(self, token: bytes) -> None:
        self._parts.append(token)
        self._size += len(token)
        if self._limit is not None and self._size > self._limit:
            raise _Full

    def _prefix(self) -> bytes:
        """What goes before the next token."""
        if not self._levels:
            return b""
        level = self._levels[-1]
        in_array, count = level
        level[1] = count + 1
        if in_array:
            if self.single_line:
                return b", " if count else b""
            return (b",\n" if count else b"\n") + _INDENT * len(self._levels)
        if count % 2:
            return b": "
        return (b",\n" if count else b"\n") + _INDENT * len(self._levels)

    def raw(self, token: bytes) -> None:
        """One finished scalar."""
        self._put(self._prefix() + token)

    def unwritable(self) -> None:
        """A value that has no text (NaN in a message): its prefix is written, and then nothing more."""
        self._parts.append(self._prefix())
        raise _Full

    def key(self, name: bytes) -> None:
        """A member's name."""
        self.raw(quote(name))

    def start(self, array: bool) -> None:
        """Open an array or an object."""
        prefix = self._prefix()
        self._levels.append([array, 0])
        self._put(prefix + (b"[" if array else b"{"))

    def end(self) -> None:
        """Close the innermost container."""
        array, count = self._levels.pop()
        newline = count and not (array and self.single_line)
        self._put((b"\n" + _INDENT * len(self._levels) if newline else b"") + (b"]" if array else b"}"))


def quoted_value(value: JsonValue) -> str:
    """A value as error messages show it, cut when long. Bytes that are no UTF-8 are kept (surrogateescape)."""
    writer = PrettyWriter(single_line=True, limit=QUOTE_LIMIT)
    with contextlib.suppress(_Full):
        _write(writer, value)
    return writer.text().decode("utf-8", "surrogateescape")


def _write(writer: PrettyWriter, value: JsonValue) -> None:
    if is_object(value):
        writer.start(array=False)
        for name, member in members_of(value):
            writer.key(encode(name))
            _write(writer, member)
        writer.end()
    elif isinstance(value, list | LongArray):
        writer.start(array=True)
        for element in value:
            _write(writer, element)
        writer.end()
    elif isinstance(value, str):
        writer.raw(quote(encode(value)))
    elif value is None or isinstance(value, bool):
        writer.raw(_LITERALS[value])
    elif is_integer(value):
        writer.raw(b"%d" % value)
    else:
        number = float(value)
        if not math.isfinite(number):
            writer.unwritable()
        writer.raw(grisu(math.copysign(0.0, number) if abs(number) < _MIN_NORMAL else number))


def error_body(message: str) -> bytes:
    """The body of an error answer. Of bytes that are no UTF-8, which the real server repeats as they came, it has
    U+FFFD: they would make it no JSON (RFC 8259, section 8.1)."""
    text = message.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return b'{\n    "error": ' + quote(text.encode()) + b"\n}"


def grisu(value: float) -> bytes:
    """A double as RapidJSON writes one: Grisu2's digits, which are not always the shortest or the nearest."""
    if value == 0:
        return b"-0.0" if math.copysign(1.0, value) < 0 else b"0.0"
    digits, exponent = _grisu2(abs(value))
    return (b"-" if value < 0 else b"") + _place_point(digits, exponent)


def _place_point(digits: str, exponent: int) -> bytes:
    """`digits` times ten to the `exponent`, with a point or an exponent as RapidJSON's Prettify chooses."""
    point = len(digits) + exponent
    if exponent >= 0 and point <= 21:
        return (digits + "0" * exponent + ".0").encode()
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}".encode()
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}".encode()
    mantissa = digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{mantissa}e{point - 1}".encode()


@cache
def _power_of_ten(exponent: int) -> tuple[int, int]:
    """10**exponent as a 64-bit significand (rounded to nearest) and a binary exponent."""
    numerator, denominator = (10**exponent, 1) if exponent >= 0 else (1, 10**-exponent)
    shift = numerator.bit_length() - denominator.bit_length() - 64
    for binary in (shift, shift + 1):
        top, bottom = (
            (numerator << -binary, denominator) if binary < 0 else (numerator, denominator << binary)
        )
        significand = (2 * top + bottom) // (2 * bottom)
        if significand < 2**64:
            return significand, binary
    return significand >> 1, shift + 2


def _multiply(a: int, b: int) -> int:
    """The upper half of a 128-bit product, rounded."""
    return (a * b + 2**63) >> 64


def _grisu2(value: float) -> tuple[str, int]:
    """Digits and decimal exponent (Loitsch, "Printing Floating-Point Numbers Quickly and Accurately", 2010)."""
    bits = struct.unpack("<Q", struct.pack("<d", value))[0]
    hidden, biased = 2**52, bits >> 52
    significand = (bits & (hidden - 1)) + (hidden if biased else 0)
    exponent = (biased or 1) - 1075
    upper, upper_exponent = 2 * significand + 1, exponent - 1
    shift = 64 - upper.bit_length()
    upper, upper_exponent = upper << shift, upper_exponent - shift
    if significand == hidden:
        lower, lower_exponent = 4 * significand - 1, exponent - 2
    else:
        lower, lower_exponent = 2 * significand - 1, exponent - 1
    lower <<= lower_exponent - upper_exponent
    normal_shift = 64 - significand.bit_length()
    normal = significand << normal_shift

    estimate = (-61 - upper_exponent) * 0.30102999566398114 + 347
    index = (int(estimate) + (1 if estimate - int(estimate) > 0 else 0)) // 8 + 1
    decimal_exponent = -348 + 8 * index
    power, power_exponent = _power_of_ten(decimal_exponent)
    high = _multiply(upper, power) - 1
    low = _multiply(lower, power) + 1
    target = _multiply(normal, power)
    return _digits(target, high, high - low, -(upper_exponent + power_exponent + 64), -decimal_exponent)


def _digits(target: int, high: int, delta: int, one_bits: int, exponent: int) -> tuple[str, int]:
    """Digits of a number between `high - delta` and `high`, the last one moved towards `target`."""
    one = 1 << one_bits
    distance = high - target
    whole, rest = high >> one_bits, high & (one - 1)
    kappa = len(str(whole))
    digits: list[int] = []
    while kappa > 0:
        digit, whole = divmod(whole, 10 ** (kappa - 1))
        if digit or digits:
            digits.append(digit)
        kappa -= 1
        remaining = (whole << one_bits) + rest
        if remaining <= delta:
            return _rounded(digits, delta, remaining, 10**kappa << one_bits, distance), exponent + kappa
    while True:
        rest, delta = rest * 10, delta * 10
        digit, rest = rest >> one_bits, rest & (one - 1)
        if digit or digits:
            digits.append(digit)
        kappa -= 1
        if rest < delta:
            # The RapidJSON of the real server has powers of ten up to nine digits: beyond, nothing is moved.
            scaled = distance * 10**-kappa if -kappa < 9 else 0
            return _rounded(digits, delta, rest, one, scaled), exponent + kappa


def _rounded(digits: list[int], delta: int, rest: int, unit: int, distance: int) -> str:
    while (
        rest < distance
        and delta - rest >= unit
        and (rest + unit < distance or distance - rest > rest + unit - distance)
    ):
        digits[-1] -= 1
        rest += unit
    return "".join(map(str, digits))
