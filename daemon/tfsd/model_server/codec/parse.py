"""JSON text to values: what RapidJSON accepts in the real server is accepted here, what it refuses is refused.

orjson reads what it plainly sees as RapidJSON does. All else is read by the standard library's C scanner, and before
it passes over the bytes that find what those two see differently (`Inf`, numbers that are too big, halves of
surrogate pairs). Neither makes a call for each value, and each reads a body once, so that no body costs much more per
byte than another; but a short one in which a name is repeated is read again, with a call for each object. Where a body
is wrong `parse_errors` says why. What follows the first value is ignored. Never knows what the values mean.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import sys
from collections.abc import Callable, Reversible
from itertools import chain, compress, repeat
from operator import eq, is_, itemgetter
from typing import Any

import numpy as np
import orjson

from tfsd.model_server.codec.parse_errors import check, is_too_big, parse_error
from tfsd.model_server.codec.structure import blank_strings, count, depth
from tfsd.model_server.errors import invalid

#: Arrays and objects within each other; a tensor has at most 254 dimensions.
MAX_DEPTH = 1024
#: Digits of a whole number; with more it is too big for a double.
MAX_DIGITS = 309
#: Bytes of a body in whose objects names are repeated.
MAX_REPEATED = 16 << 10

#: None, bool, int (see `is_integer`; a larger one may be a float), float, str (see `encode`), list, JsonObject.
JsonValue = Any
#: Values by name; where a name is repeated, a tuple of members, names and values.
JsonObject = dict[str, JsonValue] | tuple[tuple[str, JsonValue], ...]
OBJECTS: frozenset[type] = frozenset((dict, tuple))


def is_object(value: JsonValue) -> bool:
    """Whether a value is a JsonObject."""
    return type(value) in OBJECTS


def members_of(value: JsonObject) -> Reversible[tuple[str, JsonValue]]:
    """Names and values in order; a repeated name is kept."""
    return value.items() if isinstance(value, dict) else value


def find(value: JsonObject, name: str) -> tuple[str, JsonValue] | None:
    """The first member of that name, or None."""
    if name.isascii():
        if isinstance(value, dict):
            return (name, value[name]) if name in value else None
        return next(compress(value, map(eq, map(itemgetter(0), value), repeat(name))), None)
    wanted = name.encode("utf-8", "surrogateescape")
    return next((member for member in members_of(value) if encode(member[0]) == wanted), None)


_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
_BYTES = "".join(chr(byte if byte < 0x80 else 0xD800 + byte) for byte in range(256))
_SPACE = re.compile(rb"[ \n\r\t]*")
_BYTE_ORDER_MARK = re.compile(rb"\xef?\xbb?\xbf?")
_NAMED = {
    b"NaN": re.compile(rb"NaN[ \n\r\t]*+[\]},]"),
    b"Inf": re.compile(rb"Inf(?:inity)?+[ \n\r\t]*+[\]},]"),
}
_ODD_NAME, _SHORT_NAME = re.compile(rb"-NaN|Inf(?!inity)"), re.compile(rb"(-?)(NaN|Inf(?!inity))")
_LONE_HIGH = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})")
_FLOAT = re.compile(rb"(?<![0-9])[0-9]++(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)")
_LONG = re.compile(rb"(?<![0-9.eE])(?<![eE][+-])[0-9]{%d,}+(?!\.[0-9]|[eE][+-]?[0-9])" % MAX_DIGITS)
_BIG_EXPONENTS = {letter: re.compile(letter + rb"\+?[0-9]{3}") for letter in (b"e", b"E")}
#: A whole number may be too big for a double from 210 digits on, with an exponent of two: twice this and more.
_DIGITS = 100
#: From this size on only each `_STRIDE`th byte is looked at: so many of them in turn are within so long a number.
_SAMPLED, _STRIDE = 4096, 17
_ALL_DIGITS = b"\1" * (2 * _DIGITS // _STRIDE)
#: Depths up to this need no look at the scanner's stack, of which so much more than `MAX_DEPTH` is for the rest.
_SHALLOW, _STACK = 256, 1000


def is_integer(value: JsonValue) -> bool:
    """Whether a value is a number that RapidJSON keeps as an integer: one within int64 or uint64."""
    return type(value) is int and _INT64_MIN <= value <= _UINT64_MAX


def encode(string: str) -> bytes:
    """The bytes that a string of a body stands for: those that are no UTF-8 as they were sent, and a lone low
    surrogate as the three bytes that RapidJSON writes."""
    try:
        return string.encode()
    except UnicodeEncodeError:
        octets = np.frombuffer(string.encode("utf-8", "surrogatepass"), np.uint8).copy()
        raw = np.flatnonzero((octets[:-1] == 0xED) & (octets[1:] & 0xFE == 0xA2))  # U+D880 is ED A2 80
        octets[raw + 2] += (octets[raw + 1] & 1) << 6
        return np.delete(octets, [raw, raw + 1]).tobytes()


def _decode(body: bytes) -> str:
    """A body as text. In one that is no UTF-8 each byte that is not ASCII becomes the high surrogate U+D800 + byte,
    which is in no string otherwise: as an escape without a low one it is an error."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return codecs.charmap_decode(body, "strict", _BYTES)[0]


class _TooBig(Exception):
    """A number does not fit into a double."""


class _Floats:
    """Converts numbers with a fraction or an exponent, where one may be too big.

    Raises _TooBig.
    """

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, text: str) -> float:
        self._count += 1
        value = float(text)
        if (value == 0 or math.isinf(value)) and is_too_big(text):
            raise _TooBig
        return value

    def offset(self, blanked: bytes) -> int:
        """Where the last one that was converted begins in the body."""
        numbers = enumerate(_FLOAT.finditer(blanked), 1)
        return next(found.start() for index, found in numbers if index == self._count)


def parse(body: bytes) -> JsonValue:
    """The first JSON value of a body.

    Raises ServingError: INVALID_ARGUMENT, `JSON Parse error: ...` in RapidJSON's words.
    """
    if _names_numbers(body) or _may_be_big(body):
        return _read(body)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _read(body)
    if type(value) is not dict and type(value) is not list:
        return _read(body)
    # colons and brackets in strings may be counted as well: only equality says something
    kept = _members_kept(value, count(body, b"{"))
    return value if kept == count(body, b":") else _with_repeated(value, kept, body, blank_strings(body))


def _with_repeated(value: JsonValue, kept: int, body: bytes, blanked: bytes) -> JsonValue:
    """A value of which a parser kept so many members, with all of them. Raises ServingError: the body is too long to be
    read again as slowly as that takes."""
    if kept == count(blanked, b":"):
        return value
    if len(body) > MAX_REPEATED:
        raise invalid(
            f"JSON Parse error: a name is repeated in an object, in a body of more than {MAX_REPEATED} bytes"
        )
    return _read(body, object_pairs_hook=_object)


def _object(members: list[tuple[str, JsonValue]]) -> JsonObject:
    found = dict(members)
    return found if len(found) == len(members) else tuple(members)


def _read(
    body: bytes, object_pairs_hook: Callable[[list[tuple[str, JsonValue]]], JsonObject] | None = None
) -> JsonValue:
    """As `parse`, whatever the body.

    Args:
        object_pairs_hook: the scanner's, which it calls for each object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    mark = _BYTE_ORDER_MARK.match(body).end()  # type: ignore[union-attr]  # each byte is skipped by itself
    start = _skip_space(body, mark)
    if body[start : start + 1] in (b"", b"\0"):
        raise parse_error("The document is empty.", start)
    if mark:
        body = b" " * mark + body[mark:]
    blanked = blank_strings(body)
    _check_depth(blanked)
    big = _may_be_big(blanked)
    wrong = _lone_surrogates(body) + (_long_numbers(blanked) if big else [])
    floats = _Floats()
    constants, standard = _named_numbers(body, blanked)
    decoder = json.JSONDecoder(
        parse_float=floats if big else None, parse_constant=constants, object_pairs_hook=object_pairs_hook
    )
    text, value = _decode(standard), None
    try:
        value, end = decoder.raw_decode(text, _skip_space(standard, start))
    except json.JSONDecodeError as error:
        wrong.append(_size(text, error.pos))
    except _TooBig:
        wrong.append(floats.offset(blanked))
    except ValueError:  # int() takes no number as long as one of those in `wrong`
        pass
    else:
        size = _size(text, end)
        wrong = wrong and [offset for offset in wrong if offset < size]
        if type(value) is not list and not is_object(value):
            wrong.append(start)  # the scanner takes the `1` of `1.`
        elif not wrong and object_pairs_hook is None:
            blanked = blanked[:size]
            value = _with_repeated(value, _members_kept(value, count(blanked, b"{")), body[:size], blanked)
    if wrong:
        check(body, blanked, min(wrong))
    return value


def _members_kept(value: Any, objects: int) -> int:
    """How many members `objects` objects have that are in a value, or as many as there are."""
    kept, level = 0, [value]
    while level:
        kinds = set(map(type, level))
        dicts, lists = _of(dict, level, kinds), _of(list, level, kinds)
        kept += sum(map(len, dicts))
        objects -= len(dicts)
        if objects <= 0:
            break
        level = list(chain(chain.from_iterable(lists), chain.from_iterable(map(dict.values, dicts))))
    return kept


def _of(kind: type, level: list[Any], kinds: set[type]) -> list[Any]:
    if kind not in kinds:
        return []
    return level if len(kinds) == 1 else list(compress(level, map(is_, map(type, level), repeat(kind))))


def _names_numbers(body: bytes) -> bool:
    """Whether a name of a number seems to be a value; perhaps it is in a string."""
    return any(name in body and pattern.search(body) is not None for name, pattern in _NAMED.items())


def _may_be_big(blanked: bytes) -> bool:
    """Whether there may be a number that no double holds, or that RapidJSON takes for one."""
    if any(letter in blanked and pattern.search(blanked) for letter, pattern in _BIG_EXPONENTS.items()):
        return True
    if len(blanked) > _SAMPLED:
        samples = np.frombuffer(blanked, np.uint8)[::_STRIDE] - np.uint8(ord("0")) < 10
        if _ALL_DIGITS not in samples.tobytes():
            return False
    return any(map(bytes.isdigit, [blanked[at : at + _DIGITS] for at in range(0, len(blanked), _DIGITS)]))


def _skip_space(body: bytes, at: int) -> int:
    return _SPACE.match(body, at).end()  # type: ignore[union-attr]


def _check_depth(blanked: bytes) -> None:
    if count(blanked, b"[") + count(blanked, b"{") <= _SHALLOW:
        return
    deepest = depth(blanked)
    if deepest > MAX_DEPTH:
        raise invalid(f"JSON Parse error: arrays and objects are nested more than {MAX_DEPTH} deep")
    if deepest > _SHALLOW:  # the scanner calls itself for each
        sys.setrecursionlimit(max(sys.getrecursionlimit(), MAX_DEPTH + _STACK))


def _size(text: str, length: int) -> int:
    """How many bytes the beginning of a text takes in the body."""
    return length if text.isascii() else len(encode(text[:length]))


def _lone_surrogates(body: bytes) -> list[int]:
    """Where the first escape of a high surrogate is that no low one follows."""
    if b"\\u" not in body:
        return []
    found = _LONE_HIGH.search(body.replace(b"\\\\", b"  "))
    return [found.start()] if found else []


def _long_numbers(blanked: bytes) -> list[int]:
    """Where the first whole number is that has too many digits."""
    return [found.start() for found in _LONG.finditer(blanked) if is_too_big(found[0].decode())][:1]


def _named_numbers(body: bytes, blanked: bytes) -> tuple[Callable[[str], float] | None, bytes]:
    """How to convert NaN and the infinities, and a body of the same length with only those names that the
    scanner knows: NaN stands for the others, and the converter gives them their values in turn."""
    if not (b"I" in blanked or b"-N" in blanked) or _ODD_NAME.search(blanked) is None:
        return None, body
    values, standard = [], bytearray(body)
    for found in _SHORT_NAME.finditer(blanked):
        values.append(math.nan if found[2] == b"NaN" else -math.inf if found[1] else math.inf)
        standard[found.start() : found.end()] = b" " * len(found[1]) + b"NaN"
    in_turn = iter(values)
    return (lambda name: next(in_turn) if name == "NaN" else float(name)), bytes(standard)
