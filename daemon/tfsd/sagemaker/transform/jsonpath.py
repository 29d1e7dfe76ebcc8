"""The subset of JSONPath that batch transform documents for InputFilter and OutputFilter.

`$`, `.name`, `*`, `['name', …]`, `[index, …]` with negative indexes, and `[start:end]`. As AWS's developer guide says
("Associate Prediction Results with Input Records") and unlike other JSONPath, both ends of a slice are inclusive:
`$[1:4]` is the second to the fifth element.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

ALLOWED = "$[]*. ,:-'"
TOKEN = re.compile(
    r"""
      \.?\[ \s* (?P<wild>\*) \s* \]
    | \.?\[ \s* (?P<names> '[^']*' (?: \s*,\s* '[^']*' )* ) \s* \]
    | \.?\[ \s* (?P<items> [-\d:\s]+ (?: , [-\d:\s]+ )* ) \]
    | \.\s*(?P<star>\*)
    | \.(?P<name> [A-Za-z0-9-]+ )
    """,
    re.VERBOSE,
)
ITEM = re.compile(r"(?P<index>-?\d+) | (?P<start>-?\d+)? \s* : \s* (?P<end>-?\d+)?", re.VERBOSE)


class PathError(ValueError):
    """An expression that is not of the subset, or a value that has not what it asks for."""


@dataclasses.dataclass(frozen=True)
class Names:
    """One child of an object, or an object of several children."""

    names: tuple[str, ...]

    def select(self, value: Any) -> list[Any]:
        if not isinstance(value, dict):
            raise PathError(f"there is no attribute {self.names[0]!r} in {_kind(value)}")
        for name in self.names:
            if name not in value:
                raise PathError(f"there is no attribute {name!r}")
        return (
            [value[self.names[0]]] if len(self.names) == 1 else [{name: value[name] for name in self.names}]
        )


@dataclasses.dataclass(frozen=True)
class Items:
    """Elements of an array: indexes, and a slice of which both ends are included."""

    items: tuple[int | slice, ...]

    def select(self, value: Any) -> list[Any]:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise PathError(f"there are no elements in {_kind(value)}")
        return [element for item in self.items for element in self._elements(value, item)]

    @staticmethod
    def _elements(value: Sequence[Any], item: int | slice) -> Sequence[Any]:
        if isinstance(item, slice):
            return value[item]
        if not -len(value) <= item < len(value):
            raise PathError(f"there is no element {item}: there are {len(value)}")
        return [value[item]]


@dataclasses.dataclass(frozen=True)
class Wildcard:
    """All children of an object or array."""

    def select(self, value: Any) -> list[Any]:
        if isinstance(value, dict):
            return list(value.values())
        if isinstance(value, Sequence) and not isinstance(value, str):
            return list(value)
        raise PathError(f"there are no elements in {_kind(value)}")


Step = Names | Items | Wildcard


@dataclasses.dataclass(frozen=True)
class JsonPath:
    """An expression; `text` as it was given."""

    text: str
    steps: tuple[Step, ...]

    @property
    def everything(self) -> bool:
        return not self.steps

    @property
    def by_index(self) -> bool:
        """Whether it is for rows of CSV: `$`, or one step that counts elements."""
        return len(self.steps) < 2 and not any(isinstance(step, Names) for step in self.steps)

    def select(self, value: Any) -> Any:
        """What the expression names: one value, or an array if it may name several. Raises PathError."""
        nodes = [value]
        for step in self.steps:
            nodes = [child for node in nodes for child in step.select(node)]
        return nodes if any(map(_is_plural, self.steps)) else nodes[0]


def parse(text: str) -> JsonPath:
    """Read an expression. Raises PathError."""
    if not text.startswith("$"):
        raise PathError("a JSONPath begins with $")
    return JsonPath(text, tuple(_steps(text)))


def unsupported_character(text: str) -> str | None:
    """The first character that SageMaker refuses, if there is one: letters, digits and `ALLOWED` are supported."""
    return next((c for c in text if not (c.isascii() and c.isalnum()) and c not in ALLOWED), None)


def _steps(text: str) -> Iterator[Step]:
    position = 1
    stripped = text.rstrip()
    while position < len(stripped):
        token = TOKEN.match(stripped, position)
        if not token:
            raise PathError(f"{stripped[position:]!r} is not supported")
        position = token.end()
        if token["wild"] or token["star"]:
            yield Wildcard()
        elif token["name"]:
            yield Names((token["name"],))
        elif token["names"]:
            names = tuple(re.findall(r"'([^']*)'", token["names"]))
            if len(names) > 1 and position < len(stripped):
                raise PathError("nothing may follow several names")
            yield Names(names)
        else:
            yield Items(tuple(_items(token["items"])))


def _items(text: str) -> Iterator[int | slice]:
    ranges = 0
    for part in text.split(","):
        item = ITEM.fullmatch(part.strip())
        if not item:
            raise PathError(f"[{text}] is not supported")
        if item["index"]:
            yield int(item["index"])
            continue
        ranges += 1
        if ranges > 1:
            raise PathError(
                f"only single range filters of format (eg: [1:5]) are supported. Format [{text}] is not supported"
            )
        yield inclusive(item["start"], item["end"])


def inclusive(start: str | None, end: str | None) -> slice:
    """A slice that includes its end."""
    last = None if end is None or int(end) == -1 else int(end) + 1
    return slice(None if start is None else int(start), last)


def _is_plural(step: Step) -> bool:
    return isinstance(step, Wildcard) or (
        isinstance(step, Items) and (len(step.items) > 1 or isinstance(step.items[0], slice))
    )


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
