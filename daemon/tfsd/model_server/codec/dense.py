"""Bodies that are mostly brackets: a list or an object costs far more than the two bytes that may stand for it.

Owns what keeps their cost near that of other bodies: regular arrays of numbers are read as one flat list, so many empty
containers as no tensor has are refused before anything is parsed, and the garbage collector, which would look at the
containers of one body again and again, rests meanwhile.
"""

from __future__ import annotations

import contextlib
import gc
import re
import threading
from collections.abc import Iterator

from tfsd.model_server.codec.structure import blank_strings
from tfsd.model_server.errors import invalid

#: Empty arrays and objects in a body.
MAX_EMPTY = 100_000
#: From here on a body is worth a look; and so many bytes for each bracket are few.
LARGE_BYTES, FEW_BYTES = 64 << 10, 32

_SPACE = b" \n\r\t"
_ALONE = re.compile(
    rb'[ \n\r\t]*\{[ \n\r\t]*"(instances|inputs)"[ \n\r\t]*:[ \n\r\t]*(\[[^"{}]*\])[ \n\r\t]*\}[ \n\r\t]*'
)
_MARKS = bytes(set(range(256)) - set(b"[],"))
_BLANK_BRACKETS = bytes.maketrans(b"[]", b"  ")
_resting = threading.Lock()


@contextlib.contextmanager
def collector_at_rest(size: int) -> Iterator[None]:
    """No garbage is collected while a body of `size` bytes, if that is large, is decoded: there are no cycles in it.

    One thread at a time has it so; the collector works between two of them.
    """
    if size < LARGE_BYTES or not _resting.acquire(blocking=False):
        yield
        return
    try:
        gc.disable()
        yield
    finally:
        gc.enable()
        _resting.release()


def refuse_empty_containers(body: bytes | bytearray) -> None:
    """Raises ServingError: there are more than MAX_EMPTY empty arrays and objects."""
    if body.count(b"[") + body.count(b"{") <= MAX_EMPTY:
        return
    text = blank_strings(bytes(body)).translate(None, _SPACE)
    if text.count(b"[]") + text.count(b"{}") > MAX_EMPTY:
        raise invalid(f"JSON Parse error: there are more than {MAX_EMPTY} empty arrays and objects")


def is_dense(body: bytes | bytearray) -> bool:
    """Whether a body has many arrays for its size."""
    return len(body) >= LARGE_BYTES and body.count(b"[") * FEW_BYTES > len(body)


def flattened(body: bytes | bytearray) -> tuple[str, bytes, tuple[int, ...] | None] | None:
    """For a body of one key and an array without strings and objects: the key, the elements as one flat list, still to
    be parsed, and the array's shape, None when it is irregular. None for any other body."""
    found = _ALONE.fullmatch(body)
    if found is None:
        return None
    value = found[2]
    shape = _shape(value.translate(None, _MARKS))
    # blanks for the brackets: what stood in front of an opening or behind a closing one remains an error
    return found[1].decode(), b"[" + value.translate(_BLANK_BRACKETS) + b"]", shape


def _shape(marks: bytes) -> tuple[int, ...] | None:
    """The shape of an array of which the brackets and commas are given; None when it is irregular, or has no elements.

    A last dimension of one may be none at all: that shows when the elements are parsed.
    """
    rank = len(marks) - len(marks.lstrip(b"["))
    unit, shape = b"", []
    for level in range(rank - 1, -1, -1):
        start = level + 1
        if not unit:
            end = marks.find(b"]")
            size = end - start + 1
            if marks[start:end].strip(b","):
                return None
            unit = marks[level : end + 1]
        else:
            size, step = 1, len(unit) + 1
            end = marks.find(b"]" * (rank - level), start)
            if end < 0:
                return None
            length = end + rank - 1 - level - start
            size, left = divmod(length + 1, step)
            if left or marks[start : start + length] != b",".join([unit] * size):
                return None
            unit = marks[level : start + length + 1]
        shape.append(size)
    return tuple(reversed(shape)) if unit == marks else None
