"""What a JSON document may be like, whatever route it takes: how deep it nests and how long its numbers are.

Owns the two limits. nginx sends no invocation straight to a model server that could be beyond them
(conf/one_document.conf), so they hold for every one that user code does not read itself, and for the Open Inference
Protocol. What comes to TensorFlow Serving's REST API is the model server's to judge.
"""

from __future__ import annotations

import itertools
import re

from tfsd.errors import BadRequest

MAX_DEPTH = 100
MAX_DIGITS = 2000  # a double written out to its last digit has at most 1075 in a row

_EVERY = bytes(range(256))
_ZEROS_FOR_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_TOO_LONG = b"0" * (MAX_DIGITS + 1)
_NOT_STRUCTURE = _EVERY.translate(None, b'[]{}"\\')
_NOT_BRACKETS = _EVERY.translate(None, b"[]{}")
_strings = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_USUAL_RANKS = 8
_STEP = [0] * 256
for _opening, _closing in (b"[]", b"{}"):
    _STEP[_opening], _STEP[_closing] = 1, -1


def check(text: bytes) -> None:
    """Raise BadRequest for JSON that nests deeper than MAX_DEPTH or has a number of more than MAX_DIGITS digits
    in a row. Text that is no JSON may pass."""
    if _may_have_long_number(text) and _TOO_LONG in text.translate(_ZEROS_FOR_DIGITS):
        outside = _strings.sub(b'""', text)
        if _TOO_LONG in outside.translate(_ZEROS_FOR_DIGITS):
            raise too_many_digits()
    if depth_exceeds(text, MAX_DEPTH):
        raise too_deep()


def _may_have_long_number(text: bytes) -> bool:
    """Whether one of the pieces of half of MAX_DIGITS is nothing but digits, as one within more than MAX_DIGITS is."""
    half = MAX_DIGITS // 2
    return any(text[start : start + half].isdigit() for start in range(0, len(text) - half, half))


def too_many_digits() -> BadRequest:
    return BadRequest(f"The body has a number of more than {MAX_DIGITS} digits, which no model can take.")


def too_deep() -> BadRequest:
    return BadRequest(
        f"The JSON is nested deeper than {MAX_DEPTH} arrays and objects; no tensor has that many ranks."
    )


def depth_exceeds(text: bytes, limit: int) -> bool:
    """Whether a JSON text nests deeper than `limit`, which is 16 or more."""
    brackets = left = _brackets(text)
    if len(brackets) <= limit:
        return False
    for _ in range(_USUAL_RANKS):  # takes away the innermost arrays and objects, in C
        left = left.replace(b"[]", b"").replace(b"{}", b"")
        if not left:
            return False
    return max(itertools.accumulate(map(_STEP.__getitem__, brackets))) > limit


def _brackets(text: bytes) -> bytes:
    """The brackets of `text` that are not within strings."""
    structure = text.translate(None, _NOT_STRUCTURE)
    if b'"' in structure:
        structure = structure.replace(
            b'""', b""
        )  # a string without brackets; one with them leaves its quotes
        if b'"' in structure or b"\\" in structure:
            return _strings.sub(b"", text).translate(None, _NOT_BRACKETS)
    return structure
