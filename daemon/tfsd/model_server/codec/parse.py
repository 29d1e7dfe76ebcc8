"""JSON text to values: what RapidJSON accepts in the real server is accepted here, what it refuses is refused.

orjson reads what it plainly sees as RapidJSON does. Where it does not, it still says what is wrong and where, of a text
of the same length in which stand-ins are for all that it need not know (NaN, infinities, bytes that are no UTF-8,
halves of surrogate pairs): `parse_errors` has the words. Only what is right is then read by the standard library's C
scanner. Neither makes a call for each value, and each makes the values of a body once, so that no body costs much more
per byte than another; but a short one in which a name is repeated is read again, with a call for each object. What
follows the first value is ignored. Never knows what the values mean.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import re
import sys
from collections.abc import Callable, Reversible
from itertools import chain, compress, repeat
from operator import eq, is_, itemgetter
from typing import Any, cast

import numpy as np
import orjson

from tfsd.model_server.codec.octets import decode, encode
from tfsd.model_server.codec.parse_errors import KEPT_DIGITS, MAX_EXPONENT, check_at, is_too_big, parse_error
from tfsd.model_server.codec.structure import BLOCK, blank_pairs, blank_strings, count, depth
from tfsd.model_server.errors import ServingError, invalid

#: Arrays and objects within each other; a tensor has at most 254 dimensions.
MAX_DEPTH = 1024
#: Bytes of a body in whose objects names are repeated.
MAX_REPEATED = 16 << 10

#: None, bool, int (see `is_integer`; a larger one may be a float), float, str (see `octets`), list, JsonObject.
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


def members_of_all(values: list[JsonObject]) -> tuple[list[str], list[JsonValue]]:
    """The names and the values of all members, one value after the other."""
    with contextlib.suppress(TypeError):  # there is a tuple
        contents = list(chain.from_iterable(map(dict.values, cast(list[dict[str, JsonValue]], values))))
        return list(chain.from_iterable(cast(list[dict[str, JsonValue]], values))), contents
    members = list(chain.from_iterable(map(members_of, values)))
    return list(map(itemgetter(0), members)), list(map(itemgetter(1), members))


def find(value: JsonObject, name: str) -> tuple[str, JsonValue] | None:
    """The first member of that name, or None."""
    if name.isascii():
        if isinstance(value, dict):
            return (name, value[name]) if name in value else None
        return next(compress(value, map(eq, map(itemgetter(0), value), repeat(name))), None)
    wanted = name.encode("utf-8", "surrogateescape")
    return next((member for member in members_of(value) if encode(member[0]) == wanted), None)


_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
_SPACE = re.compile(rb"[ \n\r\t]*")
_BYTE_ORDER_MARK = re.compile(rb"\xef?\xbb?\xbf?")
_NAN, _INFINITY = re.compile(rb"NaN[ \n\r\t]*+[\]},]"), re.compile(rb"Inf(?:inity)?+[ \n\r\t]*+[\]},]")
_LONE_HIGH = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})")
#: All bytes but the second hexadecimal digits of high surrogates.
_NOT_HIGH = bytes(set(range(256)) - set(b"89abAB"))
#: An exponent of 309 or more: a double may hold such a number, but RapidJSON does not always see that.
_HUGE = rb"\+?0*+([1-9][0-9]{3,}|3[1-9][0-9]|309|[4-9][0-9]{2})"
_HUGE_NUMBER = re.compile(rb"(?:\.([0-9]++))?[eE]" + _HUGE)
_HUGE_EXPONENTS = {letter: re.compile(letter + _HUGE) for letter in (b"e", b"E")}
#: Names that orjson does not know, and numbers of the same length that are no more right elsewhere.
_STAND_INS = [
    (sign + name, b" 1".ljust(len(sign + name)))
    for name in (b"NaN", b"Infinity", b"Inf")
    for sign in (b"-", b"")
]
_ASCII = bytes(byte if byte < 0x80 else ord("?") for byte in range(256))
_AFTER_VALUE, _TRAILING_COMMA = "unexpected content after document", "trailing comma is not allowed"
#: The scanner calls itself for each container, as deep as that and what calls it.
sys.setrecursionlimit(max(sys.getrecursionlimit(), MAX_DEPTH + 1000))


def is_integer(value: JsonValue) -> bool:
    """Whether a value is a number that RapidJSON keeps as an integer: one within int64 or uint64."""
    return type(value) is int and _INT64_MIN <= value <= _UINT64_MAX


def parse(body: bytes) -> JsonValue:
    """The first JSON value of a body.

    Raises ServingError: INVALID_ARGUMENT, `JSON Parse error: ...` in RapidJSON's words.
    """
    value, kept = _plainly(body)
    if value is None:
        return _read(body)
    # colons and brackets in strings may be counted as well: only equality says something
    return value if kept == count(body, b":") else _with_repeated(value, kept, body, blank_strings(body))


def parse_part(text: bytes, blanked: bytes | None = None) -> JsonValue:
    """The array or object that all of a text is, a part of a long body: no name may be repeated.

    Args:
        blanked: as `structure.blank_strings` gives it, if that is known; its depth has been looked at then.
    Raises ServingError: as `parse`; offsets are those in the text.
    """
    value, kept = _plainly(text)
    if value is not None:
        if kept == count(text, b":"):
            return value
        blanked = blanked or blank_strings(text)
    else:
        blanked, start, size = _first_value(text, blanked)
        if size < len(text):
            raise parse_error("Invalid value.", size)
        value = _values(text, blanked, start)
        kept = _members_kept(value, count(blanked, b"{"))
    if kept != count(blanked, b":"):
        raise repeated_name()
    return value


def check(body: bytes, blanked: bytes) -> None:
    """Look at the first value of a body without making it.

    Args:
        blanked: as `structure.blank_strings` gives it; its depth has been looked at.
    Raises ServingError: as `parse`.
    """
    _first_value(body, blanked)


def repeated_name() -> ServingError:
    """The error of a body that is too long to be read as slowly as repeated names take."""
    return invalid(
        f"JSON Parse error: a name is repeated in an object, in a body of more than {MAX_REPEATED} bytes"
    )


def blank_mark(body: bytes) -> bytes:
    """A body with blanks for a byte order mark."""
    mark = _BYTE_ORDER_MARK.match(body).end()  # type: ignore[union-attr]  # each byte is skipped by itself
    return b" " * mark + body[mark:] if mark else body


def _plainly(body: bytes) -> tuple[JsonValue, int]:
    """The array or object that orjson plainly sees as RapidJSON does, and how many members it has; else None."""
    if _names_numbers(body) or _huge_exponent(body) is not None:
        return None, 0
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None, 0
    if type(value) is not dict and type(value) is not list:
        return None, 0
    return value, _members_kept(value, count(body, b"{"))


def _with_repeated(value: JsonValue, kept: int, body: bytes, blanked: bytes) -> JsonValue:
    """A value of which a parser kept so many members, with all of them. Raises ServingError: the body is too long."""
    if kept == count(blanked, b":"):
        return value
    if len(body) > MAX_REPEATED:
        raise repeated_name()
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
    blanked, start, size = _first_value(body)
    body, blanked = blank_mark(body)[:size], blanked[:size]
    value = _values(body, blanked, start, object_pairs_hook)
    if object_pairs_hook is None:
        value = _with_repeated(value, _members_kept(value, count(blanked, b"{")), body, blanked)
    return value


def _first_value(body: bytes, blanked: bytes | None = None) -> tuple[bytes, int, int]:
    """The body with blanks for what is in strings, and where its first value begins and ends. Raises ServingError.

    `blanked`: the first, where that is known, and that not too many containers are in it.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    mark = _BYTE_ORDER_MARK.match(body).end()  # type: ignore[union-attr]
    start = _skip_space(body, mark)
    if body[start : start + 1] in (b"", b"\0"):
        raise parse_error("The document is empty.", start)
    body = blank_mark(body)
    if blanked is None:
        blanked = blank_strings(body)
        _check_depth(blanked)
    return blanked, start, _size(body, blanked, start)


def _values(
    body: bytes,
    blanked: bytes,
    start: int,
    object_pairs_hook: Callable[[list[tuple[str, JsonValue]]], JsonObject] | None = None,
) -> JsonValue:
    """The values of a body in which nothing is wrong, as `_read`."""
    constants = None
    if b"N" in blanked or b"I" in blanked:
        constants, body = _named_numbers(body, blanked)
    elif object_pairs_hook is None:
        with contextlib.suppress(orjson.JSONDecodeError):
            return orjson.loads(body)
    decoder = json.JSONDecoder(parse_constant=constants, object_pairs_hook=object_pairs_hook)
    return decoder.raw_decode(decode(body), _skip_space(body, start))[0]


def _size(body: bytes, blanked: bytes, start: int) -> int:
    """How many bytes the first value takes, which begins at `start`. Raises ServingError: what is wrong in it.

    orjson says where. It looks at a whole text before it makes any value, so that it makes none of a text that goes on
    after its first value.
    """
    if body[start : start + 1] not in (b"[", b"{"):
        return check_at(body, blanked, start)
    text = body if body.isascii() else body.translate(_ASCII)
    lone: list[int] = []
    if b"\\u" in text:
        text, some = _without_surrogates(text)
        lone = _lone_surrogates(body) if some else []
    if b"NaN" in text or b"Inf" in text:
        for name, stand_in in _STAND_INS:
            text = text.replace(name, stand_in)
    try:
        orjson.loads(text + b"x")
    except orjson.JSONDecodeError as error:
        message, size = error.msg, error.pos
    wrong = [offset for offset in lone + _huge_numbers(blanked) if offset < size]
    if message == _TRAILING_COMMA:
        wrong.append(size + 1)
    elif message != _AFTER_VALUE:
        wrong.append(size)
    if wrong:
        check_at(body, blanked, min(wrong))
    return len(text[:size].rstrip(b" \n\r\t"))


def _without_surrogates(text: bytes) -> tuple[bytes, bool]:
    """A text with other escapes for halves of surrogate pairs, and whether there is a high one among them."""
    octets = np.frombuffer(text + b"   ", np.uint8).copy()
    high = False
    for start in range(0, len(text), BLOCK):
        block = octets[start : start + BLOCK + 3]
        escapes = (block[:-3] == ord("\\")) & (block[1:-2] == ord("u")) & (block[2:-1] | 0x20 == ord("d"))
        block[2:-1][escapes] = ord("0")
        high = high or bool(block[3:][escapes].tobytes().translate(None, _NOT_HIGH))
    return octets[:-3].tobytes(), high


def _members_kept(value: Any, objects: int) -> int:
    """How many members `objects` objects have that are in a value, or as many as there are."""
    if objects == 1 and type(value) is dict:
        return len(value)
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
    # a byte is looked for in a tenth of the time that a word takes
    nan = b"N" in body and b"NaN" in body and _NAN.search(body) is not None
    return nan or (b"I" in body and b"Inf" in body and _INFINITY.search(body) is not None)


def _skip_space(body: bytes, at: int) -> int:
    return _SPACE.match(body, at).end()  # type: ignore[union-attr]


def _check_depth(blanked: bytes) -> None:
    if count(blanked, b"[") + count(blanked, b"{") > MAX_DEPTH and depth(blanked) > MAX_DEPTH:
        raise invalid(f"JSON Parse error: arrays and objects are nested more than {MAX_DEPTH} deep")


def _lone_surrogates(body: bytes) -> list[int]:
    """Where the first escape of a high surrogate is that no low one follows."""
    found = _LONE_HIGH.search(blank_pairs(body))
    return [found.start()] if found else []


def _huge_exponent(body: bytes) -> int | None:
    """Where the first one seems to be; perhaps it is in a string."""
    first: int | None = None
    for letter, pattern in _HUGE_EXPONENTS.items():
        if letter in body and (match := pattern.search(body)) and (first is None or match.start() < first):
            first = match.start()
    return first


def _huge_numbers(blanked: bytes) -> list[int]:
    """Where the first exponent is that is too big."""
    first = _huge_exponent(blanked)
    if first is None:
        return []
    start = blanked.rfind(b",", 0, first) + 1
    too_big = {pair for pair in set(_HUGE_NUMBER.findall(blanked, start)) if _exceeds(*pair)}
    found = (
        match.start(2) for match in _HUGE_NUMBER.finditer(blanked, start) if match.groups(b"") in too_big
    )
    return [next(found)] if too_big else []


def _exceeds(fraction: bytes, exponent: bytes) -> bool:
    """Whether an exponent behind the digits of a fraction is too big."""
    if len(fraction) <= KEPT_DIGITS and int(exponent[:9]) <= MAX_EXPONENT + len(fraction):
        return False
    return is_too_big(f"0.{fraction.decode()}e{exponent.decode()}")


def _named_numbers(body: bytes, blanked: bytes) -> tuple[Callable[[str], float], bytes]:
    """How to convert NaN and the infinities, and a body of the same length with only those names that the
    scanner knows: NaN stands for the others, and the converter gives all of them their values in turn."""
    octets = np.frombuffer(blanked + b"   ", np.uint8)  # something is before and behind each name
    standard = np.frombuffer(body, np.uint8).copy()
    at = np.flatnonzero((octets == ord("I")) | (octets == ord("N")) & (np.roll(octets, -1) == ord("a")))
    infinite, negative = octets[at] == ord("I"), octets[at - 1] == ord("-")
    short = ~infinite | (octets[at + 3] != ord("i"))
    standard[at[short & negative] - 1] = ord(" ")
    for index, byte in enumerate(b"NaN"):
        standard[at[short] + index] = byte
    values = np.where(infinite, np.where(negative, -math.inf, math.inf), math.nan)
    # `next` takes the name, which the scanner passes, for its default
    return functools.partial(next, iter(values.tolist())), standard.tobytes()
