"""Where the strings and brackets of a JSON text are, found by passes over its bytes that do not parse it.

What is found is right as far as the text is well formed. Offsets are in bytes.
"""

from __future__ import annotations

import numpy as np

_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STRUCTURE = (b"[", b"{", b",", b"]", b"}")
#: From here on NumPy counts faster.
_LONG = 4096
#: Bytes that are looked at together: their arrays stay in the processor's cache, and need no new memory.
BLOCK = 1 << 15


def count(text: bytes | bytearray, byte: bytes) -> int:
    """How often a byte is there: as `text.count`, which is slow where it often is."""
    if len(text) < _LONG:
        return text.count(byte)
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord(byte)))


def blank_strings(body: bytes) -> bytes:
    """A text of the same length with blanks for what is between quotation marks."""
    if b"\\" in body:
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
