"""Rows that are all alike: brackets, commas and names are compared as text, and what is left is one flat list.

A list or an object of Python costs far more than the brackets that stand for it. Says what the values of rows are only
where that is plain, and never what is wrong with other rows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import accumulate, chain

import numpy as np

from tfsd.model_server.codec.parse import JsonValue, parse_part
from tfsd.model_server.codec.structure import WHITE_SPACE, has_white_space, marks
from tfsd.model_server.errors import ServingError

Shape = tuple[int, ...]

#: Stand for the names of rows' members; no JSON text has them outside of strings, and inside only as escapes.
_NAME_MARKS = bytes(range(0x0E, 0x20))
_OPENING = b"[{" + _NAME_MARKS
_MARKS = _OPENING + b"]},"
#: Marks as they are, zeros for all else.
_SKELETON = bytes(byte if byte in _MARKS else ord("0") for byte in range(256))
#: What is open before a value and closed behind it, as one kind of bracket each.
_BRACKETS = bytes.maketrans(_OPENING + b"}", b"[" * len(_OPENING) + b"]")
_BLANK_MARKS = bytes.maketrans(_OPENING + b"]}", b" " * len(_OPENING + b"]}"))


def plain_scalars(text: bytes, blanked: bytes, size: int, shape: Shape) -> list[JsonValue] | None:
    """The scalars, in order, of rows that are arrays.

    Args:
        text: so many rows, with commas between them.
        blanked: as `structure.blank_strings` gives it.
    Returns: None if the rows are not all of that shape, have objects, or are no JSON.
    """
    if not shape:
        return None
    dense = blanked.translate(None, WHITE_SPACE) if has_white_space(blanked) else blanked
    places, kinds = marks(dense)
    if not _is_repeated(kinds.tobytes(), size, _unit(shape, len(text))):
        return None
    # nothing stands behind a closing bracket or before an opening one
    outside = (kinds[:-1] == ord("]")) | (kinds[1:] == ord("["))
    if places[0] or places[-1] != len(dense) - 1 or (np.diff(places)[outside] != 1).any():
        return None
    octets = np.frombuffer(text, np.uint8).copy()
    if dense is not blanked:
        places, kinds = marks(blanked)
    octets[places[kinds != ord(",")]] = ord(" ")
    return _flat(octets.tobytes(), size * math.prod(shape))


def named_scalars(text: bytes, size: int, shapes: Mapping[str, Shape]) -> list[list[JsonValue]] | None:
    """The scalars, in order, of each member of rows that are objects.

    Args:
        text: so many rows, with commas between them.
        shapes: of the members, by name in the order in which the rows have them.
    Returns: None if the rows are not all alike, have other strings than their names, or are no JSON.
    """
    if text.count(b'"') != 2 * len(shapes) * size or len(shapes) > len(_NAME_MARKS):
        return None
    units = []
    for mark, (name, shape) in zip(_NAME_MARKS, shapes.items(), strict=False):
        found = re.search(rb'"%b"[ \n\r\t]*:' % re.escape(name.encode("utf-8", "replace")), text)
        if found is None or text.count(found[0]) != size:
            return None
        text = text.replace(found[0], bytes((mark,)))
        units.append(bytes((mark,)) + _unit(shape, len(text)))
    if not _is_regular(text, size, b"{" + b",".join(units) + b"}"):
        return None
    sizes = list(map(math.prod, shapes.values()))
    scalars = _flat(text.translate(_BLANK_MARKS), size * sum(sizes))
    return None if scalars is None else _split(scalars, sizes)


def _unit(shape: Shape, longest: int) -> bytes:
    """Brackets and commas of an array; those of a longer one are left out."""
    unit = b""
    for dimension in reversed(shape):
        if dimension * (len(unit) + 1) > longest:
            return b"?"
        unit = b"[" + b",".join([unit] * dimension) + b"]"
    return unit


def _is_regular(text: bytes, size: int, unit: bytes) -> bool:
    """Whether the marks of a text are so many times the unit's, and values have their place between them."""
    skeleton = text.translate(_SKELETON, WHITE_SPACE)
    if not _is_repeated(skeleton.translate(None, b"0"), size, unit):
        return False
    octets = np.frombuffer(skeleton.translate(_BRACKETS), np.uint8)
    left, right = octets[:-1], octets[1:]
    stray = (left == ord("]")) & (right == ord("0")) | (left == ord("0")) & (right == ord("["))
    return not stray.any()


def _is_repeated(marks: bytes, size: int, unit: bytes) -> bool:
    """Whether marks are so many times the unit's, with commas between them."""
    return len(marks) + 1 == size * (len(unit) + 1) and marks == b",".join([unit] * size)


def _flat(text: bytes, size: int) -> list[JsonValue] | None:
    """So many scalars with commas between them; None if there is anything else, as there is for an empty array."""
    if not size:
        return [] if not text.translate(None, WHITE_SPACE + b",") else None
    try:
        scalars: list[JsonValue] = parse_part(b"[" + text + b"]")
    except ServingError:
        return None
    return scalars if len(scalars) == size else None


def _split(scalars: list[JsonValue], sizes: list[int]) -> list[list[JsonValue]]:
    """The scalars of each member, of so many in a row."""
    if len(sizes) == 1 or not scalars:
        return [scalars] * len(sizes)
    step = sum(sizes)
    starts = accumulate(sizes, initial=0)
    return [
        scalars[start::step]
        if size == 1
        else list(chain.from_iterable(scalars[at : at + size] for at in range(start, len(scalars), step)))
        for start, size in zip(starts, sizes, strict=False)
    ]
