"""Validation of a request against its shape, with the texts that AWS answers.

Knows botocore's shapes and nothing of any operation: lengths, ranges, patterns, enums, required members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tfsd.sagemaker import patterns
from tfsd.sagemaker.errors import AwsError, SerializationException, ValidationException

JSON_TYPES: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "timestamp": (int, float, str),
    "blob": (bytes, str),
}
MAX_VALUE_SHOWN = 200


def validate(shape: Any, value: Any, refuse: type[AwsError] = ValidationException) -> None:
    """Check `value` (JSON) against a botocore shape. Raises `refuse` with all problems, or SerializationException."""
    problems = list(_problems(shape, value, ""))
    if problems:
        many = "s" if len(problems) > 1 else ""
        raise refuse(f"{len(problems)} validation error{many} detected: {'; '.join(problems)}")


def _problems(shape: Any, value: Any, path: str) -> Iterator[str]:
    kind = shape.type_name
    if not isinstance(value, JSON_TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        raise SerializationException(f"{path or 'the request'} must be of type {kind}.")
    yield from CHECKS.get(kind, _no_check)(shape, value, path)


def _structure(shape: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    for name in shape.required_members:
        if value.get(name) is None:
            yield _text(None, _member(path, name), "Member must not be null")
    for name, member in shape.members.items():
        if value.get(name) is not None:
            yield from _problems(member, value[name], _member(path, name))


def _list(shape: Any, value: list[Any], path: str) -> Iterator[str]:
    yield from _length(shape, value, path)
    for number, item in enumerate(value, 1):
        yield from _problems(shape.member, item, f"{path}.{number}.member")


def _map(shape: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    yield from _length(shape, value, path)
    for key, item in value.items():
        yield from _problems(shape.key, key, f"{path}.key")
        yield from _problems(shape.value, item, f"{path}.{key}.member")


def _string(shape: Any, value: str, path: str) -> Iterator[str]:
    yield from _length(shape, value, path)
    if shape.enum and value not in shape.enum:
        yield _text(value, path, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
    pattern = shape.metadata.get("pattern")
    compiled = patterns.compiled(pattern) if pattern else None
    if compiled and not compiled.fullmatch(value):
        yield _text(value, path, f"Member must satisfy regular expression pattern: {pattern}")


def _length(shape: Any, value: Any, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and len(value) < low:
        yield _text(value, path, f"Member must have length greater than or equal to {low}")
    if high is not None and len(value) > high:
        yield _text(value, path, f"Member must have length less than or equal to {high}")


def _number(shape: Any, value: float, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and value < low:
        yield _text(value, path, f"Member must have value greater than or equal to {low}")
    if high is not None and value > high:
        yield _text(value, path, f"Member must have value less than or equal to {high}")


def _no_check(shape: Any, value: Any, path: str) -> Iterator[str]:
    return iter(())


CHECKS: dict[str, Callable[[Any, Any, str], Iterator[str]]] = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "integer": _number,
    "long": _number,
    "float": _number,
    "double": _number,
}


def _member(path: str, name: str) -> str:
    """AWS's texts write members with a small first letter: `productionVariants.1.member.variantName`."""
    small = name[:1].lower() + name[1:]
    return f"{path}.{small}" if path else small


def _text(value: Any, path: str, constraint: str) -> str:
    if value is None:
        shown = "null"
    else:
        text = str(value)
        shown = f"'{text if len(text) <= MAX_VALUE_SHOWN else text[:MAX_VALUE_SHOWN] + '…'}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}"
