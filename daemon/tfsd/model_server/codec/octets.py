"""The strings of a JSON body and the bytes that they stand for, many at a time.

A body need not be UTF-8 and an escape may be half of a surrogate pair: RapidJSON passes on the bytes of both. Python's
codecs would ask an error handler about each, so these strings are encoded as arrays.
"""

from __future__ import annotations

import codecs
import sys

import numpy as np

_BYTES = "".join(chr(byte if byte < 0x80 else 0xD800 + byte) for byte in range(256))
_UTF32 = "utf-32-le" if sys.byteorder == "little" else "utf-32-be"
_CHARACTERS = range(0xD800)  # all but surrogates that are one unit of UTF-16
#: Characters that are encoded together: their arrays stay in the processor's cache.
_BLOCK = 1 << 14


def decode(body: bytes) -> str:
    """A body as text. In one that is no UTF-8 each byte that is not ASCII becomes the high surrogate U+D800 + byte,
    which is in no string otherwise: as an escape without a low one it is an error."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return codecs.charmap_decode(body, "strict", _BYTES)[0]


def encode(string: str) -> bytes:
    """The bytes that a string of a body stands for: those that are no UTF-8 as they were sent, and a lone low
    surrogate as the three bytes that RapidJSON writes."""
    return encode_all([string])[0]


def encode_all(strings: list[str]) -> list[bytes]:
    """As `encode`, for each of many."""
    try:
        return list(map(str.encode, strings))
    except UnicodeEncodeError:
        pass
    if len(strings) == 1:
        return [_encode(strings[0])]
    end = _not_in("".join(strings))
    return list(map(encode, strings)) if end is None else _encode(end.join(strings)).split(end.encode())


def _not_in(text: str) -> str | None:
    """A character that is not in a text, if there is one."""
    if "\0" not in text:
        return "\0"
    there = set(text)
    return next((character for character in map(chr, _CHARACTERS) if character not in there), None)


def _encode(text: str) -> bytes:
    return b"".join([_encode_block(text[start : start + _BLOCK]) for start in range(0, len(text), _BLOCK)])


def _encode_block(text: str) -> bytes:
    codes = np.array([text]).view(np.uint32)
    raw = codes >> 7 == 0xD880 >> 7
    if (raw | (codes < 0x80)).all():
        return codes.astype(np.uint8).tobytes()
    surrogate = codes >> 11 == 0xD800 >> 11
    sizes = np.uint8(1) + (codes > 0x7F) + (codes > 0x7FF) + (codes > 0xFFFF)
    starts = np.cumsum(sizes, dtype=np.int32) - sizes
    # U+D800 is ED A0 80; U+E800, which can be encoded, EE A0 80
    encodable = (codes + surrogate * np.uint32(0x1000)).tobytes().decode(_UTF32).encode()
    octets = np.frombuffer(encodable, np.uint8).copy()
    octets[starts[surrogate]] = 0xED
    kept = np.ones(len(octets), bool)
    kept[starts[raw] + 1] = kept[starts[raw] + 2] = False
    octets[starts[raw]] = codes[raw] & 0xFF
    return octets[kept].tobytes()
