"""Bodies of :classify and :regress to serialized `tf.Example`s, as TensorFlow Serving's json_tensor does it.

Owns the checks and error texts of `examples` and `context`. Writes the protobuf wire form itself (proto
`tensorflow.Example`: features = 1; map entry key = 1, value = 2), of all members at once; `features` has their values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import accumulate, pairwise
from operator import add, getitem
from typing import NoReturn

import numpy as np

from tfsd.model_server.codec.decode import signature_name, top_level
from tfsd.model_server.codec.features import (
    BYTES,
    FLOAT,
    INT64,
    Unfit,
    delimited,
    head,
    joined,
    opening,
    packed,
)
from tfsd.model_server.codec.long_arrays import LongArray
from tfsd.model_server.codec.parse import OBJECTS, JsonValue, find, is_integer, members_of_all
from tfsd.model_server.codec.values import (
    columns_of,
    decode_base64,
    first_other,
    format_error,
    is_base64,
    name_of,
    names_of,
    type_word,
)
from tfsd.model_server.errors import invalid

_KIND_NAMES = {BYTES: "bytes", FLOAT: "float", INT64: "int64"}
#: What the context may take in all examples together, in bytes.
MAX_CONTEXT = 2**26


def decode_examples(body: JsonValue) -> tuple[str, list[bytes]]:
    """A :classify or :regress body, parsed.

    Returns: the signature's name as sent, and the serialized examples, each with the `context` under it (a
        feature of the example replaces the context's of the same name).
    Raises ServingError: what is wrong, `classify` in the text for both verbs as the real server has it.
    """
    request = top_level(body)
    signature = signature_name(request)
    context = find(request, "context")
    shared = _Members([context[1]]).by_name(0, None) if context else {}
    examples = find(request, "examples")
    if examples is None:
        what = "When method is classify, key 'examples' is expected and was not found"
        raise format_error(request, what)
    if not isinstance(examples[1], list | LongArray):
        raise format_error(request, "Expecting 'examples' value to be an list/array")
    if not examples[1]:
        raise format_error(request, "'examples' value is an empty array")
    given = examples[1]
    context_size = sum(map(len, shared.values()))
    if context_size * len(given) > MAX_CONTEXT:
        raise invalid(
            f"'context' takes {context_size} bytes in each of {len(given)} examples, together more than {MAX_CONTEXT}"
        )
    found: list[bytes] = []
    for block in given.blocks() if isinstance(given, LongArray) else (given,):
        found += _serialized(block if isinstance(block, list) else block.values(), shared)
    return signature, found


def _serialized(examples: list[JsonValue], shared: dict[bytes, bytes]) -> list[bytes]:
    """Examples, each with the features of the context that it does not have. Raises ServingError."""
    alike = None if shared else _serialized_alike(examples)
    if alike is not None:
        return alike
    members = _Members(examples)
    if shared or members.repeat:
        entries = pairwise(accumulate(map(len, examples), initial=0))
        merged = [shared | members.by_name(start, end) for start, end in entries]
        return delimited((1,), [b"".join(features.values()) for features in merged])
    sizes = np.fromiter(map(len, examples), np.intp, len(examples))
    if (sizes == 1).all():
        return members.behind(_example_opening)
    return delimited((1,), joined(members.entries, sizes))


def _serialized_alike(examples: list[JsonValue]) -> list[bytes] | None:
    """Examples that all have the same features; None if they have not, or something is wrong."""
    names = list(examples[0]) if type(examples[0]) is dict else []
    octets = [name.encode("utf-8", "surrogateescape") for name in names_of(names)]
    columns, same = columns_of(examples, set(names))
    if not names or len(set(octets)) < len(names) or same < len(examples):
        return None
    written = _example_opening if len(names) == 1 else opening
    features = []
    for name, octets_of_name in zip(names, octets, strict=True):
        try:
            kinds, contents = packed(columns[name])
        except Unfit:
            return None
        sizes = list(map(len, contents))
        openings = {
            kind: {size: written(octets_of_name, kind, size) for size in set(sizes)} for kind in set(kinds)
        }
        if len(openings) == 1:
            of_each = map(openings[kinds[0]].__getitem__, sizes)
        else:
            of_each = map(getitem, map(openings.__getitem__, kinds), sizes)
        features.append(list(map(add, of_each, contents)))
    if len(names) == 1:
        return features[0]
    return delimited((1,), list(map(b"".join, zip(*features, strict=True))))


def _example_opening(name: bytes, kind: int, size: int) -> bytes:
    """What stands before so many bytes of values in an example of one feature."""
    entry = opening(name, kind, size)
    return head((1,), len(entry) + size) + entry


class _Members:
    """The members of examples.

    Attributes:
        repeat: whether one example may have two of a name.
    """

    def __init__(self, examples: list[JsonValue]) -> None:
        """Raises ServingError: the first thing that is wrong."""
        alike = first_other(type, examples, OBJECTS)
        self._keys, contents = members_of_all(examples[:alike])
        if LongArray in set(map(type, contents)):
            contents = [list(content) if isinstance(content, LongArray) else content for content in contents]
        try:
            self._kinds, self._packed = packed(contents)
        except Unfit as unfit:
            _refuse(self._keys[unfit.index], contents[unfit.index])
        if alike < len(examples):
            raise invalid(f"Example must be JSON object but got JSON {type_word(examples[alike])}")
        distinct = list(set(self._keys))
        octets = [name.encode("utf-8", "surrogateescape") for name in names_of(distinct)]
        self._names = dict(zip(distinct, octets, strict=True))
        self.repeat = len(set(octets)) < len(octets) or tuple in set(map(type, examples))

    @cached_property
    def entries(self) -> list[bytes]:
        """Name and feature of each, serialized as an entry of the map that protobuf has them in."""
        return self.behind(opening)

    @cached_property
    def _names_in_turn(self) -> list[bytes]:
        return list(map(self._names.__getitem__, self._keys))

    def behind(self, written: Callable[[bytes, int, int], bytes]) -> list[bytes]:
        """The values of each behind what is written for its name, its kind and their size."""
        openings = _Openings(written, self._names)
        of_each = zip(self._keys, self._kinds, map(len, self._packed), strict=True)
        return list(map(add, map(openings.__getitem__, of_each), self._packed))

    def by_name(self, start: int, end: int | None) -> dict[bytes, bytes]:
        """The entries of some members in turn; of two of a name the last one."""
        return dict(zip(self._names_in_turn[start:end], self.entries[start:end], strict=True))


class _Openings(dict[tuple[str, int, int], bytes]):
    """What stands before the values of members, by key, kind and size."""

    def __init__(self, written: Callable[[bytes, int, int], bytes], names: dict[str, bytes]) -> None:
        super().__init__()
        self._written = written
        self._names = names

    def __missing__(self, of: tuple[str, int, int]) -> bytes:
        key, kind, size = of
        found = self[of] = self._written(self._names[key], kind, size)
        return found


def _refuse(key: str, content: JsonValue) -> NoReturn:
    """Raises ServingError: what is wrong with a feature."""
    name = name_of(key)
    values = content if isinstance(content, list) else [content]
    kind = _kind(name, values[0])
    for value in values:
        if _kind(name, value) != kind:
            raise invalid(f"Unexpected element type in feature: {name} expecting type: {_KIND_NAMES[kind]}")
        if kind == INT64 and value >= 2**63:
            raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        if kind == BYTES and not isinstance(value, str):
            decode_base64(value)
    raise AssertionError("A feature that was wrong is right")


def _kind(name: str, value: JsonValue) -> int:
    """The kind of feature that a value makes. Raises ServingError: none."""
    if isinstance(value, str) or is_base64(value):
        return BYTES
    if is_integer(value) or isinstance(value, bool):
        return INT64
    if isinstance(value, int | float):
        return FLOAT
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_word(value)}")
