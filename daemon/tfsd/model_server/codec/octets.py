"""The strings of a JSON body and the bytes that they stand for, many at a time.

A body need not be UTF-8 and an escape may be half of a surrogate pair: RapidJSON passes on the bytes of both. Python's
codecs would ask an error handler about each, so these strings are encoded as arrays.
"""

from __future__ import annotations

import codecs
import sys
from itertools import pairwise

import numpy as np

_BYTES = "".join(chr(byte if byte < 0x80 else 0xD800 + byte) for byte in range(256))
_UTF32 = "utf-32-le" if sys.byteorder == "little" else "utf-32-be"
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
    joined = "".join(strings)
    blocks = [_encode(joined[start : start + _BLOCK]) for start in range(0, len(joined), _BLOCK)]
    octets = b"".join([block for block, _ in blocks])
    ends = np.cumsum(np.concatenate([[0], *(sizes for _, sizes in blocks)]), dtype=np.int64)
    bounds = ends[np.cumsum(np.fromiter(map(len, strings), np.intp, len(strings)))].tolist()
    return [octets[start:end] for start, end in pairwise([0, *bounds])]


def _encode(text: str) -> tuple[bytes, np.ndarray]:
    """The bytes of a text, which is not empty, and how many each character takes."""
    codes = np.array([text]).view(np.uint32)
    surrogate, raw = codes >> 11 == 0xD800 >> 11, codes >> 7 == 0xD880 >> 7
    sizes = np.uint8(1) + (codes > 0x7F) + (codes > 0x7FF) + (codes > 0xFFFF)
    starts = np.cumsum(sizes, dtype=np.int32) - sizes
    # U+D800 is ED A0 80; U+E800, which can be encoded, EE A0 80
    encodable = (codes + surrogate * np.uint32(0x1000)).tobytes().decode(_UTF32).encode()
    octets = np.frombuffer(encodable, np.uint8).copy()
    octets[starts[surrogate]] = 0xED
    kept = np.ones(len(octets), bool)
    kept[starts[raw] + 1] = kept[starts[raw] + 2] = False
    octets[starts[raw]] = codes[raw] & 0xFF
    sizes[raw] = 1
    return octets[kept].tobytes(), sizes
