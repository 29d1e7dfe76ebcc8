"""Bodies of :classify and :regress to serialized `tf.Example`s, as TensorFlow Serving's json_tensor does it.

Owns the checks and error texts of `examples` and `context`. Writes the protobuf wire form itself (proto
`tensorflow.Example`: features = 1; map entry key = 1, value = 2; bytes, float, int64 list = 1, 2, 3).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

from tfsd.model_server.codec.decode import (
    decode_base64,
    format_error,
    is_base64,
    signature_name,
    text,
    top_level,
    type_word,
)
from tfsd.model_server.codec.parse import JsonObject, JsonValue
from tfsd.model_server.errors import ServingError, invalid
from tfsd.model_server.varint import varint

_KIND_BYTES, _KIND_FLOAT, _KIND_INT64 = 1, 2, 3
_KIND_NAMES = {_KIND_BYTES: "bytes", _KIND_FLOAT: "float", _KIND_INT64: "int64"}
_MIN_NORMAL_FLOAT = 2.0**-126


def decode_examples(body: JsonValue) -> tuple[str, list[bytes]]:
    """A :classify or :regress body, parsed.

    Returns: the signature's name as sent, and the serialized examples, each with the `context` under it (a
        feature of the example replaces the context's of the same name).
    Raises ServingError: what is wrong, `classify` in the text for both verbs as the real server has it.
    """
    request = top_level(body)
    signature = signature_name(request)
    context = request.find(b"context")
    shared = _features(context[1]) if context else {}
    examples = request.find(b"examples")
    if examples is None:
        what = "When method is classify, key 'examples' is expected and was not found"
        raise format_error(request, what)
    if not isinstance(examples[1], list):
        raise format_error(request, "Expecting 'examples' value to be an list/array")
    if not examples[1]:
        raise format_error(request, "'examples' value is an empty array")
    return signature, [_serialize(shared | _features(example)) for example in examples[1]]


def _features(value: JsonValue) -> dict[bytes, bytes]:
    """Feature name -> serialized `Feature`; of a name given twice the last one counts."""
    if not isinstance(value, JsonObject):
        raise invalid(f"Example must be JSON object but got JSON {type_word(value)}")
    features = {}
    for key, content in value.members:
        name = key.partition(b"\0")[0]  # the real server takes the name as a C string
        feature = _Feature(text(name))
        for element in content if isinstance(content, list) else [content]:
            feature.add(element)
        features[name] = feature.serialize()
    return features


class _Feature:
    """The values of one feature; the first one's JSON type decides the kind of all."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind = 0
        self.values: list[bytes] = []

    def add(self, value: JsonValue) -> None:
        """Add one value. Raises ServingError if its type cannot be, or is not that of the values before it."""
        kind, encode = self._form(value)
        if self.kind not in (0, kind):
            raise invalid(
                f"Unexpected element type in feature: {self.name} expecting type: {_KIND_NAMES[self.kind]}"
            )
        if kind == _KIND_INT64 and value > 2**63 - 1:
            raise invalid(f"Feature: {self.name} has uint64 element. Only int64 is supported.")
        self.kind = kind
        self.values.append(encode(value))

    def _form(self, value: JsonValue) -> tuple[int, Callable[[JsonValue], bytes]]:
        if isinstance(value, bytes):
            return _KIND_BYTES, bytes
        if is_base64(value):
            return _KIND_BYTES, decode_base64
        if isinstance(value, float):
            return _KIND_FLOAT, _float
        if isinstance(value, int):
            return _KIND_INT64, _int64
        raise self._wrong_type(value)

    def _wrong_type(self, value: JsonValue) -> ServingError:
        return invalid(f"Feature: {self.name} has element with unexpected JSON type: {type_word(value)}")

    def serialize(self) -> bytes:
        """The `Feature`: empty without values, so that the parser takes the feature as missing."""
        if not self.kind:
            return b""
        if self.kind == _KIND_BYTES:
            content = b"".join(_delimited(1, value) for value in self.values)
        else:
            content = _delimited(1, b"".join(self.values))  # packed
        return _delimited(self.kind, content)


def _float(value: float) -> bytes:
    if 0 < abs(value) < _MIN_NORMAL_FLOAT:
        value = math.copysign(0.0, value)  # the real server's threads flush denormals
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", math.copysign(math.inf, value))


def _int64(value: int) -> bytes:
    return varint(int(value) & (2**64 - 1))


def _delimited(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def _serialize(features: dict[bytes, bytes]) -> bytes:
    entries = (_delimited(1, name) + _delimited(2, feature) for name, feature in features.items())
    return _delimited(1, b"".join(_delimited(1, entry) for entry in entries))
