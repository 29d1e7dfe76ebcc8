"""What the members of examples hold, as serialized `Feature`s, many at a time.

Values are looked at together, whatever lists they are in, so that no body costs much more per value than another.
Writes the protobuf wire form itself (`tensorflow.Feature`: bytes, float, int64 list = 1, 2, 3; value = 1 in each list).
Says where a value is wrong, and never what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import chain, compress, pairwise, repeat
from operator import add, is_

import numpy as np

from tfsd.model_server.codec.parse import JsonValue, is_integer
from tfsd.model_server.codec.values import byte_strings, first_true, narrow
from tfsd.model_server.varint import varint

NONE, BYTES, FLOAT, INT64 = range(4)
#: The kind of feature that a value of a type makes, for most integers and objects.
_KINDS: dict[type, int] = {str: BYTES, dict: BYTES, float: FLOAT, int: INT64, bool: INT64}
_INT64_END = 2**63
#: Integers that are turned into varints at once, so that little memory is needed beside them.
_BLOCK = 1 << 14
_SHIFTS = np.arange(0, 70, 7, dtype=np.uint64)  # ten septets
_REMEMBERED = 4096
#: Messages of fewer bytes find what stands before them in a table.
_SMALL = 256


class Unfit(Exception):
    """A content cannot be a feature. `index`: the first such one."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


@lru_cache(_REMEMBERED)
def head(fields: tuple[int, ...], size: int) -> bytes:
    """What stands before so many bytes: the heads of the messages that they are in, from the outermost field on."""
    found = b""
    for field in reversed(fields):
        found = varint(field << 3 | 2) + varint(size + len(found)) + found
    return found


@cache
def _small_heads(fields: tuple[int, ...]) -> list[bytes]:
    return [head(fields, size) for size in range(_SMALL)]


def delimited(fields: tuple[int, ...], contents: Sequence[bytes]) -> list[bytes]:
    """Contents of a field, each with its head."""
    sizes = list(map(len, contents))
    if max(sizes, default=0) < _SMALL:
        heads = map(_small_heads(fields).__getitem__, sizes)
    else:
        heads = map(head, repeat(fields), sizes)
    return list(map(add, heads, contents))


def serialized(contents: list[JsonValue]) -> list[bytes]:
    """The `Feature`s of values, or of lists of values; one without values is empty, so that it is taken as missing.

    Raises Unfit: it has a value of no kind, or of another one than its first value.
    """
    values, sizes = _values(contents)
    ends = np.cumsum(sizes)
    kinds = _kinds(values)
    wanted = np.zeros(len(contents), np.uint8)  # NONE for those without values
    wanted[sizes > 0] = kinds[(ends - sizes)[sizes > 0]]
    wrong = first_true((kinds == NONE) | (kinds != np.repeat(wanted, sizes)))
    strings = byte_strings(_of(BYTES, values[:wrong], kinds[:wrong]))
    if len(strings) < np.count_nonzero(kinds[:wrong] == BYTES):
        wrong = int(np.flatnonzero(kinds == BYTES)[len(strings)])
    if wrong < len(values):
        raise Unfit(int(np.searchsorted(ends, wrong, side="right")))
    features = {
        BYTES: delimited((BYTES,), joined(delimited((1,), strings), sizes[wanted == BYTES])),
        FLOAT: delimited((FLOAT, 1), _floats(_of(FLOAT, values, kinds), sizes[wanted == FLOAT])),
        INT64: delimited((INT64, 1), _varints(_of(INT64, values, kinds), sizes[wanted == INT64])),
    }
    for of_kind in features.values():
        if len(of_kind) == len(contents):
            return of_kind
    in_turn: dict[int, Iterator[bytes]] = {kind: iter(of_kind) for kind, of_kind in features.items()}
    in_turn[NONE] = repeat(b"")
    return [next(in_turn[kind]) for kind in wanted.tolist()]


def _values(contents: list[JsonValue]) -> tuple[list[JsonValue], np.ndarray]:
    """The values of contents, and how many each one has."""
    listed = np.fromiter(map(is_, map(type, contents), repeat(list)), bool, len(contents))
    if not listed.any():
        return contents, np.ones(len(contents), np.intp)
    lists = contents if listed.all() else [one if type(one) is list else (one,) for one in contents]
    return list(chain.from_iterable(lists)), np.fromiter(map(len, lists), np.intp, len(lists))


def _kinds(values: list[JsonValue]) -> np.ndarray:
    """The kind of feature that each value makes."""
    kinds = np.fromiter(map(_KINDS.get, map(type, values), repeat(NONE)), np.uint8, len(values))
    integers = _of(INT64, values, kinds)
    if integers and not -_INT64_END <= min(integers) <= max(integers) < _INT64_END:
        kinds[kinds == INT64] = [_kind_of_integer(value) for value in integers]
    return kinds


def _kind_of_integer(value: int) -> int:
    if -_INT64_END <= value < _INT64_END:
        return INT64
    return NONE if is_integer(value) else FLOAT


def _of(kind: int, values: list[JsonValue], kinds: np.ndarray) -> list[JsonValue]:
    chosen = kinds == kind
    return values if chosen.all() else list(compress(values, chosen.tolist()))


def joined(parts: list[bytes], sizes: np.ndarray) -> list[bytes]:
    """So many parts in turn as one."""
    if (sizes == 1).all():
        return parts
    return [b"".join(parts[start:end]) for start, end in pairwise([0, *np.cumsum(sizes).tolist()])]


def _floats(values: list[JsonValue], sizes: np.ndarray) -> list[bytes]:
    """Packed floats, so many in turn; too large ones are infinite, denormal ones zero, as the real server has them."""
    octets = narrow(np.array(values, np.float64), np.dtype("<f4")).tobytes()
    return _cut(octets, 4 * np.cumsum(sizes))


def _varints(values: list[JsonValue], sizes: np.ndarray) -> list[bytes]:
    """Packed varints of int64s, so many in turn."""
    octets, lengths = [], [np.zeros(1, np.intp)]
    septet_count = 10 if not values or min(values) < 0 else max(1, (max(values).bit_length() + 6) // 7)
    for start in range(0, len(values), _BLOCK):
        numbers = np.array(values[start : start + _BLOCK], np.int64).view(np.uint64)
        septets = numbers[:, np.newaxis] >> _SHIFTS[:septet_count]
        longer = np.empty(septets.shape, bool)  # whether a septet is not the last of its number
        longer[:, :-1], longer[:, -1] = septets[:, 1:] != 0, False
        kept = septets != 0
        kept[:, 0] = True
        octets.append(((septets & 0x7F).astype(np.uint8) | (longer.view(np.uint8) << 7))[kept].tobytes())
        lengths.append(kept.sum(axis=1, dtype=np.intp))
    ends = np.cumsum(np.concatenate(lengths))
    return _cut(b"".join(octets), ends[np.cumsum(sizes)])


def _cut(octets: bytes, ends: np.ndarray) -> list[bytes]:
    return [octets[start:end] for start, end in pairwise([0, *ends.tolist()])]
