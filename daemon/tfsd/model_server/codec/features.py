"""What the members of examples hold, as serialized `Feature`s, many at a time.

Values are looked at together, whatever lists they are in, so that no body costs much more per value than another.
Writes the protobuf wire form itself (`tensorflow.Feature`: bytes, float, int64 list = 1, 2, 3; value = 1 in each list).
Says where a value is wrong, and never what is wrong with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import chain, compress, pairwise, repeat
from operator import add

import numpy as np

from tfsd.model_server.codec.parse import JsonValue, is_integer
from tfsd.model_server.codec.values import byte_strings, first_true, narrow
from tfsd.model_server.varint import varint

#: Kinds of features, those with values by their field of `Feature`; ONE_STRING is one of bytes with a single value.
NONE, BYTES, FLOAT, INT64, ONE_STRING = range(5)
#: In which messages the values of each kind are, from the outermost field on.
_FIELDS: dict[int, tuple[int, ...]] = {BYTES: (1,), FLOAT: (2, 1), INT64: (3, 1), ONE_STRING: (1, 1)}
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


def opening(name: bytes, kind: int, size: int) -> bytes:
    """What stands before so many bytes of values as `packed` gives them, in an entry of the map of features."""
    feature = b"" if kind == NONE else head(_FIELDS[kind], size)
    field = head((1,), len(name)) + name + head((2,), len(feature) + size) + feature
    return head((1,), len(field) + size) + field


def packed(contents: list[JsonValue]) -> tuple[list[int], list[bytes]]:
    """The kinds of the features that values, or lists of values, make, and their values as each kind has them; one
    without values is of none, so that it is taken as missing.

    Raises Unfit: it has a value of no kind, or of another one than its first value.
    """
    values, sizes = contents, None
    types = set(map(type, contents))
    if list in types:
        lists = contents
        if len(types) > 1:
            lists = [content if type(content) is list else (content,) for content in contents]
        values, sizes = list(chain.from_iterable(lists)), np.fromiter(map(len, lists), np.intp, len(lists))
    kinds = _kinds(values)
    wanted, wrong_kinds = kinds, kinds == NONE
    if sizes is not None:
        starts = np.cumsum(sizes) - sizes
        wanted = np.zeros(len(contents), np.uint8)  # NONE for those without values
        wanted[sizes > 0] = kinds[starts[sizes > 0]]
        wrong_kinds |= kinds != np.repeat(wanted, sizes)
    wrong = first_true(wrong_kinds)
    strings = byte_strings(_of(BYTES, values[:wrong], kinds[:wrong]))
    if len(strings) < np.count_nonzero(kinds[:wrong] == BYTES):
        wrong = int(np.flatnonzero(kinds == BYTES)[len(strings)])
    if wrong < len(values):
        raise Unfit(wrong if sizes is None else int(np.searchsorted(np.cumsum(sizes), wrong, side="right")))
    floats, integers = _of(FLOAT, values, kinds), _of(INT64, values, kinds)
    if sizes is None:
        wanted = np.where(wanted == BYTES, np.uint8(ONE_STRING), wanted)
        in_turn = {ONE_STRING: strings}
        sizes = np.ones(len(values), np.intp)
    else:
        in_turn = {
            BYTES: joined(delimited((1,), strings), sizes[wanted == BYTES]),
            NONE: [b""] * int(np.count_nonzero(wanted == NONE)),
        }
    in_turn[FLOAT] = _floats(floats, sizes[wanted == FLOAT])
    in_turn[INT64] = _varints(integers, sizes[wanted == INT64])
    kinds_in_turn: list[int] = wanted.tolist()
    for of_kind in in_turn.values():
        if len(of_kind) == len(contents):
            return kinds_in_turn, of_kind
    following = {kind: iter(of_kind).__next__ for kind, of_kind in in_turn.items()}
    return kinds_in_turn, [following[kind]() for kind in kinds_in_turn]


def _kinds(values: list[JsonValue]) -> np.ndarray:
    """The kind of feature that each value makes."""
    types = set(map(type, values))
    if len(types) == 1:
        kinds = np.full(len(values), _KINDS.get(types.pop(), NONE), np.uint8)
    else:
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
    """Packed floats, so many in turn; too large ones are infinite, denormal ones zero, as the real
    server has them."""
    floats = narrow(np.array(values, np.float64), np.dtype("<f4"))
    return _cut(floats.tobytes(), 4 * sizes)


def _varints(values: list[JsonValue], sizes: np.ndarray) -> list[bytes]:
    """Packed varints of int64s, so many in turn."""
    with contextlib.suppress(ValueError):  # one is more than a byte
        short = bytes(values)
        if short.isascii():
            return _cut(short, sizes)
    low, high = min(values), int(max(values))
    octets, lengths = [], []
    septet_count = 10 if low < 0 else max(1, (high.bit_length() + 6) // 7)
    for start in range(0, len(values), _BLOCK):
        numbers = np.array(values[start : start + _BLOCK], np.int64).view(np.uint64)
        septets = numbers[:, np.newaxis] >> _SHIFTS[:septet_count]
        longer = np.empty(septets.shape, bool)  # whether a septet is not the last of its number
        longer[:, :-1], longer[:, -1] = septets[:, 1:] != 0, False
        kept = septets != 0
        kept[:, 0] = True
        octets.append(((septets & 0x7F).astype(np.uint8) | (longer.view(np.uint8) << 7))[kept].tobytes())
        lengths.append(kept.sum(axis=1, dtype=np.intp))
    ends = np.concatenate(([0], np.cumsum(np.concatenate(lengths))))[np.cumsum(sizes)]
    return _cut(b"".join(octets), np.diff(ends, prepend=0))


def _cut(octets: bytes, sizes: np.ndarray) -> list[bytes]:
    """Pieces of so many bytes in turn."""
    if len(sizes) and sizes[0] and (sizes == sizes[0]).all():
        alike: list[bytes] = np.frombuffer(octets, f"V{sizes[0]}").tolist()
        return alike
    return [octets[start:end] for start, end in pairwise([0, *np.cumsum(sizes).tolist()])]
