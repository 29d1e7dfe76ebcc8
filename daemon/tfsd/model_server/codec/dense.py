"""Bodies that are mostly brackets: a list or an object costs far more than the two bytes that may stand for it.

Owns what keeps their cost near that of other bodies: regular arrays of numbers are read as one flat list, so many empty
containers as no tensor has are refused before anything is parsed, and the garbage collector, which would look at the
containers of one body again and again, rests meanwhile.
"""

from __future__ import annotations

import contextlib
import gc
import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from tfsd.model_server.codec.parse import parse
from tfsd.model_server.codec.structure import BLOCK, blank_strings, count
from tfsd.model_server.codec.values import MAX_RANK, Misfit, build_array, scalars
from tfsd.model_server.errors import ServingError, invalid

#: Empty arrays and objects in a body.
MAX_EMPTY = 100_000
#: From here on a body is worth a look; and so many bytes for each bracket are few.
LARGE_BYTES, FEW_BYTES = 64 << 10, 32

_SPACE = b" \n\r\t"
#: One array, and perhaps a signature's name before or behind it; a blank is for any white space.
_ALONE = re.compile(
    (
        rb' \{ (?:"signature_name" : "([!#-\[\]-~]*)" , )?"(instances|inputs)" : (\[[^"{}]*\]) '
        rb'(?:, "signature_name" : "([!#-\[\]-~]*)" )?\} '
    ).replace(b" ", rb"[ \n\r\t]*")
)
#: Brackets and commas as they are, zeros for all else.
_SKELETON = bytes(byte if byte in b"[]," else ord("0") for byte in range(256))
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
    if len(body) <= 2 * MAX_EMPTY or _openings_before_space_or_end(body) <= MAX_EMPTY:
        return
    if _count_empty(body) > MAX_EMPTY and _count_empty(blank_strings(bytes(body))) > MAX_EMPTY:
        raise invalid(f"JSON Parse error: there are more than {MAX_EMPTY} empty arrays and objects")


def _openings_before_space_or_end(body: bytes | bytearray) -> int:
    """How many brackets open what may be empty."""
    found = 0
    for start in range(0, len(body), BLOCK):
        octets = np.frombuffer(body, np.uint8, min(BLOCK + 1, len(body) - start), start)
        shapes = octets | 0x20  # `[` and `{` are one then, and so are `]` and `}`
        opening, following = shapes[:-1] == ord("{"), octets[1:]
        found += int(np.count_nonzero(opening & ((shapes[1:] == ord("}")) | (following <= ord(" ")))))
    return found


def _count_empty(body: bytes | bytearray) -> int:
    text = body.translate(None, _SPACE)
    return text.count(b"[]") + text.count(b"{}")


def is_dense(body: bytes | bytearray) -> bool:
    """Whether a body has many arrays for its size."""
    return len(body) >= LARGE_BYTES and count(body, b"[") * FEW_BYTES > len(body)


def read_flat(
    body: bytes | bytearray, find_inputs: Callable[[str], Mapping[str, int]]
) -> tuple[str, bool, dict[str, np.ndarray]] | None:
    """As `decode.decode_predict`, for a body of a regular array of numbers or booleans for the only input, and no more
    beside it than a signature's name; None for any other body."""
    found = _ALONE.fullmatch(body)
    if found is None or None not in (found[1], found[4]):
        return None
    array = found[3]
    shape = _shape(array.translate(_SKELETON, _SPACE))
    if shape is None or len(shape) > MAX_RANK:
        return None
    try:
        # blanks for the brackets: what stood in front of an opening or behind a closing one remains an error
        parsed = parse(b"[" + array.translate(_BLANK_BRACKETS) + b"]")
    except ServingError:
        return None
    if len(parsed) != math.prod(shape):
        return None
    signature = (found[1] or found[4] or b"").decode()
    inputs = find_inputs(signature)
    if len(inputs) != 1:
        return None
    ((name, dtype),) = inputs.items()
    try:
        values = scalars(parsed, dtype)
    except Misfit:
        return None
    return signature, found[2] == b"instances", {name: build_array(values, shape, dtype)}


def _shape(skeleton: bytes) -> tuple[int, ...] | None:
    """The shape of an array, whose elements may be any text; None when it is irregular, or has no elements.

    A last dimension of one may be none at all: that shows when the elements are parsed.
    """
    if b"]0" in skeleton or b"0[" in skeleton:
        return None
    marks = skeleton.translate(None, b"0")
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
