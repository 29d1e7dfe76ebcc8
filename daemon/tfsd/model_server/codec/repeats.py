"""Objects in which a name is repeated, of which a parser kept one value: found by counting, read again alone.

A parser that keeps every member is slow, one that loses some is fast: only what lost some is read by the slow one.
Never knows what the values mean.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, compress, repeat
from operator import is_
from typing import Any

import numpy as np

from tfsd.model_server.codec.structure import steps

#: Children that are looked into one by one, the level to which that is done, and members of a body that are.
_FEW, _DEEP, _FEW_MEMBERS = 4, 4, 100
_OPEN_OBJECT, _COMMA, _COLON = ord("{"), ord(","), ord(":")
_IS_MARK = np.zeros(256, bool)
_IS_MARK[list(b"[]{},:")] = True
_IS_BRACKET = np.zeros(256, bool)
_IS_BRACKET[list(b"[]{}")] = True


def members_kept(value: Any, objects: int) -> int:
    """How many members `objects` objects have that are in a value, or as many as there are."""
    count, level = 0, [value]
    while level:
        kinds = set(map(type, level))
        dicts, lists = _of(dict, level, kinds), _of(list, level, kinds)
        count += sum(map(len, dicts))
        objects -= len(dicts)
        if objects <= 0:
            break
        level = list(chain(chain.from_iterable(lists), chain.from_iterable(map(dict.values, dicts))))
    return count


def _of(kind: type, level: list[Any], kinds: set[type]) -> list[Any]:
    if kind not in kinds:
        return []
    return level if len(kinds) == 1 else list(compress(level, map(is_, map(type, level), repeat(kind))))


def restore(
    value: Any, body: bytes, blanked: bytes, parse: Callable[[bytes], Any], read: Callable[[bytes], Any]
) -> Any:
    """A value with all that its text has.

    Args:
        value: of the whole body, an array or an object; changed in place.
        blanked: as `structure.blank_strings` gives it.
        parse: a text to its value, fast.
        read: a text to its value, in which objects are tuples of all their members.
    Returns: the value, in which objects with repeated names are such tuples, and perhaps others.
    """
    return _Restorer(body, blanked, parse, read).restored(value, 0, -1)


class _Restorer:
    """Goes from a container to those of its children of which members were lost.

    A place is an index into the marks: brackets, commas and colons.
    """

    def __init__(
        self, body: bytes, blanked: bytes, parse: Callable[[bytes], Any], read: Callable[[bytes], Any]
    ) -> None:
        octets = np.frombuffer(blanked, np.uint8)
        self.body, self.parse, self.read = body, parse, read
        self.offsets = np.flatnonzero(_IS_MARK[octets])
        self.marks = octets[self.offsets]
        moves = np.where(_IS_BRACKET[self.marks], steps(self.marks.view(np.int8)), np.int8(0))
        self.levels = np.cumsum(moves, dtype=np.int32)
        self.colons = np.concatenate(([0], np.cumsum(self.marks == _COLON)))  # before each mark

    def restored(self, value: Any, first: int, last: int) -> Any:
        """As `restore`, for the container whose brackets are at two places."""
        last %= len(self.marks)
        level = self.levels[first]
        inside = slice(first, last)
        own = self.levels[inside] == level
        commas = first + np.flatnonzero(own & (self.marks[inside] == _COMMA))
        bounds = np.concatenate(([first], commas, [last]))
        if type(value) is dict and np.count_nonzero(own & (self.marks[inside] == _COLON)) != len(value):
            return self._all_members(bounds, level)
        children = list(value.values()) if type(value) is dict else value
        objects = int(np.count_nonzero(self.marks[inside] == _OPEN_OBJECT))
        given = self.colons[bounds[1:]] - self.colons[bounds[:-1] + 1] - (type(value) is dict)
        lost = self._containers(value)
        if len(lost) != 1:
            lost = np.flatnonzero(given != _members_kept_in_each(children, objects)).tolist()
        if len(lost) <= _FEW and level < _DEEP:
            keys = list(value) if type(value) is dict else range(len(value))
            for at in lost:
                opening = bounds[at] + 1 + (type(value) is dict)
                value[keys[at]] = self.restored(children[at], opening, bounds[at + 1] - 1)
        elif type(value) is dict:
            return self.read(self._text(first, last + 1))
        else:
            pieces = self._between(bounds, lost)
            for at, child in zip(lost, self.read(b"[" + b",".join(pieces) + b"]"), strict=True):
                value[at] = child
        return value

    @staticmethod
    def _containers(value: Any) -> list[int]:
        """Which children of an object are arrays and objects; none of an array."""
        return (
            [at for at, child in enumerate(value.values()) if type(child) in (dict, list)]
            if type(value) is dict
            else []
        )

    def _all_members(self, bounds: np.ndarray, level: int) -> Any:
        """An object with repeated names; a whole body's few members may be large, so each is read as fast as it can."""
        if level > 1 or len(bounds) > _FEW_MEMBERS:
            return self.read(self._text(bounds[0], bounds[-1] + 1))
        pieces = self._between(bounds, list(range(len(bounds) - 1)))
        return tuple(chain.from_iterable(_members(self.parse(b"{" + piece + b"}")) for piece in pieces))

    def _between(self, bounds: np.ndarray, children: list[int]) -> list[bytes]:
        starts, ends = self.offsets[bounds[:-1][children]] + 1, self.offsets[bounds[1:][children]]
        return [self.body[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def _text(self, first: int, end: int) -> bytes:
        return self.body[self.offsets[first] : self.offsets[end - 1] + 1]


def _members(value: Any) -> Any:
    return value.items() if type(value) is dict else value


def _members_kept_in_each(values: list[Any], objects: int) -> np.ndarray:
    """How many members are in each of the values, at any depth; they have `objects` objects or less."""
    counts, owners, level = np.zeros(len(values), np.int64), np.arange(len(values)), values
    while level:
        kinds = set(map(type, level))
        dicts, lists = _of(dict, level, kinds), _of(list, level, kinds)
        owners_of_dicts, owners_of_lists = (
            _owners(dict, level, kinds, owners),
            _owners(list, level, kinds, owners),
        )
        sizes = np.fromiter(map(len, dicts), np.int64, len(dicts))
        counts += np.bincount(owners_of_dicts, sizes, len(values)).astype(np.int64)
        objects -= len(dicts)
        if objects <= 0:
            break
        list_sizes = np.fromiter(map(len, lists), np.int64, len(lists))
        owners = np.concatenate((np.repeat(owners_of_lists, list_sizes), np.repeat(owners_of_dicts, sizes)))
        level = list(chain(chain.from_iterable(lists), chain.from_iterable(map(dict.values, dicts))))
    return counts


def _owners(kind: type, level: list[Any], kinds: set[type], owners: np.ndarray) -> np.ndarray:
    if kind not in kinds:
        return owners[:0]
    if len(kinds) == 1:
        return owners
    fitting: np.ndarray = owners[np.fromiter(map(is_, map(type, level), repeat(kind)), bool, len(level))]
    return fitting
