"""Where the strings and brackets of a JSON text are, found by passes over its bytes that do not parse it.

What is found is right as far as the text is well formed. Offsets are in bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

WHITE_SPACE = b" \n\r\t"
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STRUCTURE = (b"[", b"{", b",", b"]", b"}")
#: What each byte adds to how many containers are open, as an int8.
_STEPS = bytes(1 if byte in b"[{" else 0xFF if byte in b"]}" else 0 for byte in range(256))
#: Bytes in which so many containers are opened at most that an int16 still counts them.
_WINDOW = 1 << 14
#: From here on NumPy counts faster.
_LONG = 4096
#: Bytes that are looked at together: their arrays stay in the processor's cache, and need no new memory.
BLOCK = 1 << 15


def count(text: bytes | bytearray, byte: bytes) -> int:
    """How often a byte is there: as `text.count`, which is slow where it often is."""
    if len(text) < _LONG:
        return text.count(byte)
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord(byte)))


def blank_pairs(text: bytes) -> bytes:
    """A text with blanks for each backslash that is escaped by another, and for both."""
    return text.replace(b"\\\\", b"  ") if _has_pair(text, b"\\") else text


def _has_pair(text: bytes, seconds: bytes) -> bool:
    """Whether one of some bytes follows a backslash, which Python is slow to find out where those are many."""
    if b"\\" not in text:
        return False
    for start in range(0, len(text), BLOCK):
        octets = np.frombuffer(text, np.uint8, min(BLOCK + 1, len(text) - start), start)
        following = octets[1:] == seconds[0]
        for byte in seconds[1:]:
            following |= octets[1:] == byte
        if (following & (octets[:-1] == ord("\\"))).any():
            return True
    return False


def blank_strings(body: bytes) -> bytes:
    """A text of the same length with blanks for what is between quotation marks."""
    if _has_pair(body, b'\\"'):
        body = body.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
    blocks, within = [], False
    for start in range(0, len(body), BLOCK):
        octets = np.frombuffer(body, np.uint8, min(BLOCK, len(body) - start), start)
        quotes = octets == ord('"')
        inside = np.logical_xor.accumulate(quotes)
        if within:
            inside = ~inside
        within = bool(inside[-1])
        inside &= ~quotes
        blocks.append(np.where(inside, np.uint8(ord(" ")), octets).tobytes())
    return b"".join(blocks)


class Separators(NamedTuple):
    """Where the elements of the containers of a text are.

    Attributes:
        blanked: the text's first value, with blanks for what is between quotation marks.
        levels: for each comma of it that is in no string how many containers are open, -1 for all other bytes.
    """

    blanked: bytes
    levels: np.ndarray


def separators(text: bytes, deepest: int) -> Separators | None:
    """Of a text whose first byte is a bracket; None if that is not closed, or more than `deepest` are open at once."""
    blanked = blank_strings(text)
    levels = np.empty(len(blanked), np.int16)
    level = 0
    for start in range(0, len(blanked), _WINDOW):
        window = blanked[start : start + _WINDOW]
        steps = window.translate(_STEPS)
        commas = np.frombuffer(window, np.uint8) == ord(",")
        if b"\x01" not in steps and b"\xff" not in steps:
            levels[start : start + _WINDOW] = np.where(commas, np.int16(level), np.int16(-1))
            continue
        depths = np.cumsum(np.frombuffer(steps, np.int8), dtype=np.int16) + np.int16(level)
        level = int(depths[-1])
        levels[start : start + _WINDOW] = np.where(commas, depths, np.int16(-1))
        if depths.max() > deepest:
            return None
        if depths.min() <= 0:
            size = start + int((depths <= 0).argmax()) + 1
            return Separators(blanked[:size], levels[:size])
    return None


def depth(blanked: bytes) -> int:
    """How many containers are open at once, at most."""
    deepest = level = 0
    for start in range(0, len(blanked), BLOCK):
        _, levels = _levels(blanked[start : start + BLOCK])
        if len(levels):
            deepest = max(deepest, level + int(levels.max()))
            level += int(levels[-1])
    return deepest


def last_mark(blanked: bytes, end: int) -> int:
    """Where the last bracket or comma before `end` is; -1 if there is none."""
    return max(blanked.rfind(mark, 0, end) for mark in _STRUCTURE)


def innermost(blanked: bytes, end: int) -> bytes:
    """The opening bracket of the container that is open at `end`; empty if there is none."""
    brackets, levels = _levels(blanked[:end])
    if not brackets or levels[-1] <= 0:
        return b""
    same_level = np.flatnonzero(levels == levels[-1])
    opening = next(at for at in reversed(same_level) if brackets[at] in b"[{")
    return brackets[opening : opening + 1]


def _levels(blanked: bytes) -> tuple[bytes, np.ndarray]:
    """All brackets, and how many containers are open after each."""
    brackets = blanked.translate(None, _NO_BRACKETS)
    steps = 3 - (np.frombuffer(brackets, np.int8) & 6)  # the opening ones end in 011, the closing ones in 101
    return brackets, np.cumsum(steps, dtype=np.int32)
