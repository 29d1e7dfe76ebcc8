"""tf.Examples from plain values: the input of classify and regress signatures.

Owns the rules by which a value becomes a feature. Knows nothing of requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tensorflow.core.example import example_pb2, feature_pb2

from tfsd.errors import BadRequest

ONLY_FEATURE = "inputs"  # of a value that names none


def examples(value: Any) -> list[Any]:
    """The tf.Examples that a value means.

    A dict of feature to value(s) is one Example, a list of dicts several. Anything else is the feature
    `inputs`: a scalar or a list of one Example, a list of lists (rows of CSV) of one Example each.
    Raises BadRequest.
    """
    value = _plain(value)
    if isinstance(value, Mapping):
        return [_example(value)]
    if isinstance(value, (list, tuple)) and value:
        items = [_plain(item) for item in value]
        if all(isinstance(item, Mapping) for item in items):
            return [_example(item) for item in items]
        if all(isinstance(item, (list, tuple)) for item in items):
            return [_example({ONLY_FEATURE: item}) for item in items]
    return [_example({ONLY_FEATURE: value})]


def _example(features: Mapping[Any, Any]) -> Any:
    example = example_pb2.Example()
    for name, value in features.items():
        if not isinstance(name, str):
            raise BadRequest(f"A feature's name must be text, not {name!r}.")
        example.features.feature[name].CopyFrom(_feature(name, value))
    return example


def _feature(name: str, value: Any) -> Any:
    """int and bool make an int64_list, str and bytes a bytes_list, a float anywhere a float_list."""
    values = list(_flat(value))
    kinds = {_kind(item) for item in values}
    if kinds and kinds <= {bytes}:
        encoded = [item.encode() if isinstance(item, str) else item for item in values]
        return feature_pb2.Feature(bytes_list=feature_pb2.BytesList(value=encoded))
    try:
        if kinds and kinds <= {int}:
            return feature_pb2.Feature(int64_list=feature_pb2.Int64List(value=map(int, values)))
        if kinds and kinds <= {int, float}:
            return feature_pb2.Feature(float_list=feature_pb2.FloatList(value=map(float, values)))
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"Feature {name!r} holds a number that is too large: {error}") from None
    if not values:
        return feature_pb2.Feature()
    raise BadRequest(
        f"Feature {name!r} must hold numbers, or text, and not both; it has {', '.join(_names(values))}."
    )


def _flat(value: Any) -> Iterator[Any]:
    value = _plain(value)
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _flat(item)
    else:
        yield value


def _kind(value: Any) -> type | None:
    if isinstance(value, (str, bytes)):
        return bytes
    if isinstance(value, int):
        return int
    return float if isinstance(value, float) else None


def _names(values: list[Any]) -> list[str]:
    return sorted({type(value).__name__ for value in values})


def _plain(value: Any) -> Any:
    """numpy's arrays and scalars as lists and numbers."""
    return value.tolist() if hasattr(value, "tolist") else value
