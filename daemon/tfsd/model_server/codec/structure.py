"""Where the strings and brackets of a JSON text are, found by passes over its bytes that do not parse it.

What is found is right as far as the text is well formed. Offsets are in bytes.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import NamedTuple

import numpy as np

WHITE_SPACE = b" \n\r\t"
_BRACKETS = (b"[", b"]", b"{", b"}")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STRUCTURE = (b"[", b"{", b",", b"]", b"}")
#: What each byte adds to how many containers are open, as an int8.
_STEPS = bytes(1 if byte in b"[{" else 0xFF if byte in b"]}" else 0 for byte in range(256))
#: Bytes whose separators are looked for together: at most as many as an uint16 has values.
WINDOW = 1 << 14
#: From here on NumPy counts faster.
_LONG = 4096
#: So few quotation marks are looked at one by one in less time than NumPy takes for all bytes.
_FEW_QUOTES = 64
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
        if not within and body.find(b'"', start, start + BLOCK) < 0:
            blocks.append(body[start : start + BLOCK])
            continue
        octets = np.frombuffer(body, np.uint8, min(BLOCK, len(body) - start), start)
        quotes = octets == ord('"')
        places = np.flatnonzero(quotes)
        if len(places) < _FEW_QUOTES:
            block, within = _blank_few(octets.tobytes(), places.tolist(), within)
            blocks.append(block)
            continue
        inside = np.logical_xor.accumulate(quotes)
        if within:
            inside = ~inside
        within = bool(inside[-1])
        inside &= ~quotes
        blocks.append(np.where(inside, np.uint8(ord(" ")), octets).tobytes())
    return b"".join(blocks)


def has_white_space(text: bytes) -> bool:
    """Whether there is any."""
    return any(space in text for space in WHITE_SPACE)


def marks(text: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Where the brackets and commas of a text are, and which, as bytes."""
    octets = np.frombuffer(text, np.uint8)
    found = octets == ord(",")
    for bracket in b"[]{}":
        found |= octets == bracket
    places = np.flatnonzero(found)
    return places, octets[places]


def _levels_after(kinds: np.ndarray) -> np.ndarray:
    """How many more containers are open after each mark than before the first."""
    return np.add.accumulate(np.frombuffer(kinds.tobytes().translate(_STEPS), np.int8), dtype=np.int32)


def _blank_few(block: bytes, quotes: list[int], within: bool) -> tuple[bytes, bool]:
    """A block with blanks for what is in strings, and whether one goes on behind it; `within`: one began before it."""
    octets = bytearray(block)
    bounds = [-1, *quotes] if within else quotes
    for opening, closing in zip_longest(bounds[::2], bounds[1::2], fillvalue=len(block)):
        octets[opening + 1 : closing] = b" " * (closing - opening - 1)
    return bytes(octets), len(bounds) % 2 == 1


class _Window(NamedTuple):
    """Some bytes of a text: how many containers are open before, and at least and at most at once, and where their
    brackets and commas are; this is left out when there is no bracket."""

    before: int
    least: int
    most: int
    places: np.ndarray | None


class Separators:
    """Where the elements of the containers of a text are.

    Attributes:
        blanked: the text's first value, with blanks for what is between quotation marks.
    """

    def __init__(self, blanked: bytes, windows: list[_Window]) -> None:
        self.blanked = blanked
        self._windows = windows

    def commas(self, start: int, end: int, level: int) -> tuple[int, int, int]:
        """Of the commas between two offsets that have so many containers open: how many, the first and the last."""
        number, first, last = 0, -1, -1
        for at in range(start - start % WINDOW, end, WINDOW):
            window = self._windows[at // WINDOW]
            if window.least <= level <= window.most:
                some, one, other = self._commas_of(window, at, max(start, at), min(end, at + WINDOW), level)
                if some:
                    first, last = first if number else one, other
                    number += some
        return number, first, last

    def _commas_of(self, window: _Window, at: int, start: int, end: int, level: int) -> tuple[int, int, int]:
        """As `commas`, of a window that begins at an offset, or a part of it."""
        text = self.blanked
        if window.places is None:
            return count(text[start:end], b","), text.find(b",", start, end), text.rfind(b",", start, end)
        kinds = np.frombuffer(text, np.uint8, offset=at)[window.places]
        chosen = (_levels_after(kinds) == level - window.before) & (kinds == ord(","))
        places = window.places[chosen]
        if start > at or end < at + WINDOW:
            places = places[(places >= start - at) & (places < end - at)]
        return (len(places), at + int(places[0]), at + int(places[-1])) if len(places) else (0, -1, -1)


def separators(text: bytes, deepest: int) -> Separators | None:
    """Of a text whose first byte is a bracket; None if that is not closed, or more than `deepest` are open at once."""
    blanked = blank_strings(text)
    windows = []
    level = 0
    for start in range(0, len(blanked), WINDOW):
        end = start + WINDOW
        if not any(blanked.find(bracket, start, end) >= 0 for bracket in _BRACKETS):
            windows.append(_Window(level, level, level, None))
            continue
        places, kinds = marks(blanked[start:end])
        levels = _levels_after(kinds) + level
        least, most = int(levels.min()), int(levels.max())
        if most > deepest:
            return None
        if least <= 0:
            last = int((levels <= 0).argmax())
            windows.append(_Window(level, least, most, places[: last + 1].astype(np.uint16)))
            return Separators(blanked[: start + int(places[last]) + 1], windows)
        windows.append(_Window(level, min(level, least), most, places.astype(np.uint16)))
        level = int(levels[-1])
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
