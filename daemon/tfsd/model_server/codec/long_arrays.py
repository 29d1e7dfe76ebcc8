"""Long bodies, whose arrays are parsed a block of elements at a time.

A value of Python costs far more than the two bytes that may stand for it. Those of a block are made, looked at and
thrown away while the processor's cache has them, and what comes after the first that is wrong is never made. Owns where
the elements of an array are in a text; never knows what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tfsd.model_server.codec import regular
from tfsd.model_server.codec.parse import MAX_DEPTH, JsonValue, blank_mark, check, parse_part, repeated_name
from tfsd.model_server.codec.regular import Shape
from tfsd.model_server.codec.structure import WHITE_SPACE, Separators, separators
from tfsd.model_server.errors import invalid

#: Bodies of fewer bytes are parsed at once, and so are values of fewer in a longer one (see `codec` for more of those).
LONG_BYTES = 64 << 10
#: Bytes of elements that are parsed together.
BLOCK_BYTES = 32 << 10

#: Objects in so many containers may have long values of use: the body, `inputs`, a row.
_OBJECTS_TO = 2


class _Span(NamedTuple):
    """A part of a body, in which `level` containers are open at least."""

    body: bytes
    separators: Separators
    start: int
    end: int
    level: int

    def part(self, start: int, end: int) -> _Span:
        """What is between two offsets, without the white space around it."""
        text = self.body[start:end]
        start += len(text) - len(text.lstrip(WHITE_SPACE))
        return self._replace(start=start, end=max(start, start + len(text.strip(WHITE_SPACE))))

    def inner(self) -> _Span:
        """What is between the brackets."""
        return self.part(self.start + 1, self.end - 1)._replace(level=self.level + 1)

    def text(self) -> bytes:
        return self.body[self.start : self.end]

    def blanked(self) -> bytes:
        """The same with blanks for what is in strings."""
        return self.separators.blanked[self.start : self.end]

    def is_long(self) -> bool:
        return self.end - self.start > LONG_BYTES

    def blocks(self) -> Iterator[tuple[int, _Span]]:
        """The elements, in blocks: how many, and where; one that is long by itself."""
        start = at = self.start
        size = 0
        while at < self.end:
            after = min(at - at % BLOCK_BYTES + BLOCK_BYTES, self.end)
            size, first, last = self.separators.commas(at, after, self.level)
            at = after
            if size and first - start > LONG_BYTES:
                yield 1, self.part(start, first)
                start, size = first + 1, size - 1
            if at == self.end and self.end - start <= LONG_BYTES:
                break  # the last element makes no block of its own
            if size:
                yield size, self.part(start, last)
                start, size = last + 1, 0
        yield size + 1, self.part(start, self.end)


class LongArray:
    """An array of a body, in place of a list."""

    def __init__(self, span: _Span) -> None:
        self._blocks = [Block(size, part) for size, part in span.blocks()]
        self._size = sum(map(len, self._blocks))
        #: Whether its blocks were all asked for; else nobody has seen whether it is right.
        self.is_read = False

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[JsonValue]:
        for block in self.blocks():
            yield from block.values()

    def first(self) -> JsonValue:
        """The first element. Raises ServingError: it is no JSON."""
        return self._blocks[0].first()

    def blocks(self) -> Iterator[Block]:
        """The elements, in blocks."""
        yield from self._blocks
        self.is_read = True


def first_of(array: list[JsonValue] | LongArray) -> JsonValue:
    """The first element of an array that has one. Raises ServingError: it is no JSON."""
    return array[0] if isinstance(array, list) else array.first()


class Block:
    """Some elements of an array, one after the other."""

    def __init__(self, size: int, span: _Span) -> None:
        self._size = size
        self._span = span
        self._is_long = size == 1 and span.is_long()

    def __len__(self) -> int:
        return self._size

    def values(self) -> list[JsonValue]:
        """The elements. Raises ServingError: they are no JSON."""
        return [_value(self._span)] if self._is_long else _elements(self._span, self._size)

    def first(self) -> JsonValue:
        """The first element. Raises ServingError: it is no JSON."""
        span = self._span
        if self._size > 1:
            _, comma, _ = span.separators.commas(span.start, span.end, span.level)
            span = span.part(span.start, comma)
        return _value(span)

    def plain_scalars(self, shape: Shape) -> list[JsonValue] | None:
        """As `regular.plain_scalars`."""
        if self._is_long:
            return None
        return regular.plain_scalars(self._span.text(), self._span.blanked(), self._size, shape)

    def named_scalars(self, shapes: Mapping[str, Shape]) -> list[list[JsonValue]] | None:
        """As `regular.named_scalars`."""
        return None if self._is_long else regular.named_scalars(self._span.text(), self._size, shapes)


def _elements(span: _Span, size: int) -> list[JsonValue]:
    """So many values with commas between them. Raises ServingError: it is something else."""
    values: list[JsonValue] = parse_part(b"[" + span.text() + b"]", b"[" + span.blanked() + b"]")
    if len(values) != size:
        raise invalid(f"JSON Parse error: {len(values)} values where {size} should be")
    return values


def _value(span: _Span) -> JsonValue:
    """The value that a part of a body is. Raises ServingError: it is no JSON."""
    first, last = span.body[span.start : span.start + 1], span.body[span.end - 1 : span.end]
    if (
        not span.is_long()
        or first + last not in (b"[]", b"{}")
        or (first == b"{" and span.level > _OBJECTS_TO)
    ):
        (value,) = _elements(span, 1)
        return value
    inner = span.inner()
    if inner.start == inner.end:
        return [] if first == b"[" else {}
    return LongArray(inner) if first == b"[" else _object(inner)


def _object(span: _Span) -> dict[str, JsonValue]:
    members: dict[str, JsonValue] = {}
    count = 0
    for size, part in span.blocks():
        count += size
        colon = part.separators.blanked.find(b":", part.start, part.end)
        if size == 1 and part.is_long() and colon >= 0:
            (name,) = parse_part(b"{" + part.part(part.start, colon).text() + b":0}")
            members[name] = _value(part.part(colon + 1, part.end))
        else:
            members |= parse_part(b"{" + part.text() + b"}")
    if len(members) < count:
        raise repeated_name()
    return members


class LongBody:
    """The array or object that is the first value of a long body."""

    def __init__(self, body: bytes, text: bytes, found: Separators) -> None:
        """`text`: the body from where the value begins."""
        self._before = b" " * (len(body) - len(text))
        self._body = body[: len(self._before) + len(found.blanked)]
        self._span = _Span(text, found, 0, len(found.blanked), 0)

    @classmethod
    def find(cls, body: bytes) -> LongBody | None:
        """None if its first value is something else, is not closed or is nested too deeply."""
        text = blank_mark(body).lstrip(WHITE_SPACE)
        found = separators(text, MAX_DEPTH) if text[:1] in (b"[", b"{") else None
        return None if found is None else cls(body, text, found)

    def value(self) -> JsonValue:
        """The value, with LongArrays in it for what is long.

        Raises ServingError: it is no JSON; `check` says what is wrong with it. So do the LongArrays when they are read.
        """
        return _value(self._span)

    def check(self) -> None:
        """Raises ServingError: the first thing that is wrong with the text, as `parse` says it."""
        check(self._body, self._before + self._span.separators.blanked)


def is_read(value: JsonValue) -> bool:
    """Whether all LongArrays in a value of a LongBody were read."""
    if isinstance(value, dict):
        return all(map(is_read, value.values()))
    return not isinstance(value, LongArray) or value.is_read
