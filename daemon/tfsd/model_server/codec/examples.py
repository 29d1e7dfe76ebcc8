"""Bodies of :classify and :regress to serialized `tf.Example`s, as TensorFlow Serving's json_tensor does it.

Owns the checks and error texts of `examples` and `context`. Writes the protobuf wire form itself (proto
`tensorflow.Example`: features = 1; map entry key = 1, value = 2; bytes, float, int64 list = 1, 2, 3).
"""

from __future__ import annotations

import numpy as np

from tfsd.model_server.codec.decode import signature_name, top_level
from tfsd.model_server.codec.octets import encode
from tfsd.model_server.codec.parse import JsonValue, find, is_integer, is_object, members_of
from tfsd.model_server.codec.values import decode_base64, format_error, is_base64, name_of, narrow, type_word
from tfsd.model_server.errors import invalid
from tfsd.model_server.varint import varint

_KIND_BYTES, _KIND_FLOAT, _KIND_INT64 = 1, 2, 3
_KIND_NAMES = {_KIND_BYTES: "bytes", _KIND_FLOAT: "float", _KIND_INT64: "int64"}
#: Python types that certainly are of a kind.
_FITTING = {
    _KIND_BYTES: frozenset((str,)),
    _KIND_FLOAT: frozenset((float,)),
    _KIND_INT64: frozenset((int, bool)),
}
#: What the context may take in all examples together, in bytes.
MAX_CONTEXT = 2**26
#: Integers that are turned into varints at once, so that little memory is needed beside them.
_BLOCK = 1 << 14
#: Up to so many a loop is faster.
_FEW = 32
_SHIFTS = np.arange(0, 70, 7, dtype=np.uint64)  # ten septets


def decode_examples(body: JsonValue) -> tuple[str, list[bytes]]:
    """A :classify or :regress body, parsed.

    Returns: the signature's name as sent, and the serialized examples, each with the `context` under it (a
        feature of the example replaces the context's of the same name).
    Raises ServingError: what is wrong, `classify` in the text for both verbs as the real server has it.
    """
    request = top_level(body)
    signature = signature_name(request)
    context = find(request, "context")
    shared = _features(context[1]) if context else {}
    examples = find(request, "examples")
    if examples is None:
        what = "When method is classify, key 'examples' is expected and was not found"
        raise format_error(request, what)
    if not isinstance(examples[1], list):
        raise format_error(request, "Expecting 'examples' value to be an list/array")
    if not examples[1]:
        raise format_error(request, "'examples' value is an empty array")
    given = examples[1]
    context_size = sum(len(name) + len(feature) for name, feature in shared.items())
    if context_size * len(given) > MAX_CONTEXT:
        raise invalid(
            f"'context' takes {context_size} bytes in each of {len(given)} examples, together more than {MAX_CONTEXT}"
        )
    return signature, [_serialize(shared | _features(example)) for example in given]


def _features(value: JsonValue) -> dict[bytes, bytes]:
    """Feature name -> serialized `Feature`; of a name given twice the last one counts."""
    if not is_object(value):
        raise invalid(f"Example must be JSON object but got JSON {type_word(value)}")
    features = {}
    for key, content in members_of(value):
        name = name_of(key)
        values = content if isinstance(content, list) else [content]
        features[name.encode("utf-8", "surrogateescape")] = _feature(name, values)
    return features


def _feature(name: str, values: list[JsonValue]) -> bytes:
    """A serialized `Feature`: empty without values, so that the parser takes it as missing.

    Raises ServingError: a value's JSON type cannot be in one, or is not that of the values before it.
    """
    if not values:
        return b""
    kind = _kind(name, values[0])
    if not _FITTING[kind].issuperset(map(type, values)):
        for value in values:
            _check_kind(name, value, kind)
    if kind == _KIND_FLOAT:
        return _delimited(kind, _delimited(1, _floats(values)))
    if kind == _KIND_INT64:
        if min(values) < -(2**63) or max(values) >= 2**63:
            for value in values:
                _check_kind(name, value, kind)
        return _delimited(kind, _delimited(1, _varints(values)))
    strings = [encode(value) if isinstance(value, str) else decode_base64(value) for value in values]
    return _delimited(kind, b"".join([_delimited(1, string) for string in strings]))


def _kind(name: str, value: JsonValue) -> int:
    """The kind of feature that a value makes. Raises ServingError: none."""
    if isinstance(value, str) or is_base64(value):
        return _KIND_BYTES
    if is_integer(value) or isinstance(value, bool):
        return _KIND_INT64
    if isinstance(value, int | float):
        return _KIND_FLOAT
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_word(value)}")


def _check_kind(name: str, value: JsonValue, kind: int) -> None:
    """Whether a value can be in a feature of that kind. Raises ServingError."""
    if _kind(name, value) != kind:
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {_KIND_NAMES[kind]}")
    if kind == _KIND_INT64 and value >= 2**63:
        raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    if kind == _KIND_BYTES and not isinstance(value, str):
        decode_base64(value)


def _floats(values: list[JsonValue]) -> bytes:
    """Packed floats; too large ones are infinite, denormal ones zero, as the real server's threads have them."""
    return narrow(np.array(values, np.float64), np.dtype("<f4")).tobytes()


def _varints(values: list[JsonValue]) -> bytes:
    """Packed varints of int64s."""
    if len(values) < _FEW:
        return b"".join([varint(value & (2**64 - 1)) for value in values])
    pieces = []
    for start in range(0, len(values), _BLOCK):
        numbers = np.array(values[start : start + _BLOCK], np.int64).view(np.uint64)
        septets = numbers[:, np.newaxis] >> _SHIFTS
        longer = np.empty(septets.shape, bool)  # whether a septet is not the last of its number
        longer[:, :-1], longer[:, -1] = septets[:, 1:] != 0, False
        wanted = septets != 0
        wanted[:, 0] = True
        octets = (septets & 0x7F).astype(np.uint8) | (longer.view(np.uint8) << 7)
        pieces.append(octets[wanted].tobytes())
    return b"".join(pieces)


def _delimited(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def _serialize(features: dict[bytes, bytes]) -> bytes:
    entries = (_delimited(1, name) + _delimited(2, feature) for name, feature in features.items())
    return _delimited(1, b"".join(_delimited(1, entry) for entry in entries))
