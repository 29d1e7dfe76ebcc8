"""Nested lists of JSON values to arrays: shapes, types, base64, and what is wrong with them.

Values are looked at a level of nesting at a time, right ones and wrong ones alike, so that no body costs much
more per value than another. Owns the texts of the errors (tensorflow_model_server 2.20).
"""

from __future__ import annotations

import contextlib
import math
import re
from binascii import a2b_base64
from collections.abc import Callable
from itertools import chain, compress, count, repeat
from operator import add, and_, contains, is_, itemgetter, ne
from typing import Any

import numpy as np

from tfsd.model_server.codec.dtypes import BOOL, FLOATS, INTEGERS, STRING, dtype_name, numpy_dtype
from tfsd.model_server.codec.long_arrays import Block, LongArray, first_of
from tfsd.model_server.codec.octets import encode, encode_all
from tfsd.model_server.codec.parse import JsonObject, JsonValue, is_object, members_of
from tfsd.model_server.codec.text import quoted_value
from tfsd.model_server.errors import Code, ServingError, invalid

#: Dimensions of an array in NumPy; a tensor may have 254.
MAX_RANK = 64
_SMALLEST = {dtype: np.finfo(dtype).tiny for dtype in map(numpy_dtype, FLOATS)}
_SMALLEST_SINGLE, _LARGEST_SINGLE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
#: So few values are looked at one by one in less time than NumPy takes for any.
_FEW = 16
_WORDS = {
    type(None): "Null",
    dict: "Object",
    tuple: "Object",
    list: "Array",
    LongArray: "Array",
    str: "String",
}
#: The types of the values of a dtype's tensors.
_FITTING = (
    dict.fromkeys(FLOATS, frozenset((int, float)))
    | dict.fromkeys(INTEGERS, frozenset((int,)))
    | {STRING: frozenset((str,)), BOOL: frozenset((bool,))}
)
ARRAYS: frozenset[type] = frozenset((list, LongArray))
_TEXT, _OBJECTS, _STRINGS = frozenset((str,)), frozenset((dict,)), frozenset((str, dict))
_BASE64_SPACE = re.compile(rb"[ \t\n\v\f\r]+")
_BASE64 = re.compile(rb"([A-Za-z0-9+/]*)([=.]*)")
#: Many at once, each with a separator after it, once white space is gone and padding as usual.
_SEPARATOR, _WHITE_SPACE, _PADDING = ",", b" \t\n\v\f\r", bytes.maketrans(b".", b"=")
_PADS = "", "", "==", "="  # by how many characters are left over
_ENCODED_PADS = tuple(map(str.encode, _PADS))
# Before Python 3.11.5 a match goes on into the text that is not right, up to its separator.
_BASE64_TEXTS = re.compile(rb"(?:(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?,)*+")


def name_of(key: str) -> str:
    """The name that a member's key stands for: the real server takes it as a C string. Bytes that are no UTF-8 are
    kept (surrogateescape)."""
    return names_of([key])[0]


def names_of(keys: list[str]) -> list[str]:
    """As `name_of`, for each of many."""
    joined = "".join(keys)
    names = [key.partition("\0")[0] for key in keys] if "\0" in joined else keys
    with contextlib.suppress(UnicodeEncodeError):
        joined.encode()
        return names
    return [octets.decode("utf-8", "surrogateescape") for octets in encode_all(names)]


def type_word(value: JsonValue) -> str:
    """RapidJSON's name of a value's type."""
    if isinstance(value, bool):
        return str(value)
    return _WORDS.get(type(value), "Number")


def format_error(value: JsonValue, what: str) -> ServingError:
    """The error that quotes the offending value."""
    return invalid(f"JSON Value: {quoted_value(value)} {what}")


def is_base64(value: JsonValue) -> bool:
    """Whether a value is `{"b64": "..."}`, with that key alone."""
    return type(value) is dict and len(value) == 1 and isinstance(value.get("b64"), str)


def decode_base64(value: JsonObject) -> bytes:
    """The bytes of a base64 object. Raises ServingError if it is none, or its text is not base64."""
    if not is_base64(value):
        raise format_error(value, "not formatted correctly for base64 data")
    ((_, text),) = members_of(value)
    return base64_bytes(encode(text))


def base64_bytes(encoded: bytes) -> bytes:
    """What base64 text stands for. Raises ServingError if it is none.

    White space is skipped, padding may be left out and may be dots (absl::Base64Unescape).
    """
    match = _BASE64.fullmatch(_BASE64_SPACE.sub(b"", encoded))
    left = len(match[1]) % 4 if match else 1
    if match is None or left == 1 or len(match[2]) not in (0, -left % 4):
        raise invalid("Unable to base64 decode")
    return a2b_base64(match[1] + b"=" * (-left % 4))


def dense_shape(value: JsonValue) -> tuple[int, ...]:
    """The shape that the first element of each level announces, or that much of it that shows that it has too many
    dimensions."""
    shape: list[int] = []
    while isinstance(value, list) or (isinstance(value, LongArray) and len(shape) <= MAX_RANK):
        shape.append(len(value))
        if not value:
            break
        value = first_of(value)
    return tuple(shape)


class Misfit(Exception):
    """A value does not have the shape or the type that it should.

    Attributes:
        root: in which of the values that were given it is.
        error: what is wrong.
    """

    def __init__(self, root: int, error: ServingError) -> None:
        super().__init__(root, error)
        self.root = root
        self.error = error


def first_other(
    measure: Callable[[JsonValue], object], values: list[JsonValue], wanted: set[Any] | frozenset[Any]
) -> int:
    """The index of the first value of another type, or length, than those wanted; that after the last if none is."""
    if wanted.issuperset(map(measure, values)):
        return len(values)
    return next(at for at, value in enumerate(values) if measure(value) not in wanted)


def first_true(condition: np.ndarray) -> int:
    """The index of the first True; that after the last element when there is none."""
    return int(condition.argmax()) if condition.any() else len(condition)


def columns_of(rows: list[JsonValue], names: set[str]) -> tuple[dict[str, list[JsonValue]], int]:
    """The values by name of the rows, from the first on, that are dicts of just those names, and how many these are."""
    with contextlib.suppress(KeyError, TypeError):
        columns = {name: list(map(itemgetter(name), rows)) for name in names}
        if sum(map(len, rows)) == len(names) * len(rows):
            return columns, len(rows)
    dicts = rows[: first_other(type, rows, _OBJECTS)]
    same = next(compress(count(), map(ne, map(dict.keys, dicts), repeat(names))), len(dicts))
    return {name: list(map(itemgetter(name), dicts[:same])) for name in names}, same


#: Elements of an array that come one after the other.
Elements = list[JsonValue] | Block


def flatten(elements: Elements, shape: tuple[int, ...], dtype: int) -> np.ndarray:
    """The scalars, in order, of elements that all have a shape: an array of one dimension (see `to_array`).

    Raises Misfit: the first value, in the order of the text, that is not as it should be. Raises ServingError: a Block
    is no JSON.
    """
    return _flatten(elements, 0, shape, dtype)


def _flatten(elements: Elements, depth: int, shape: tuple[int, ...], dtype: int) -> np.ndarray:
    """As `flatten`, for elements `depth` levels down."""
    if isinstance(elements, Block):
        found = elements.plain_scalars(shape[depth:])
        if found is not None:
            try:
                return to_array(scalars(found, dtype), dtype)
            except Misfit as misfit:
                raise Misfit(misfit.root // math.prod(shape[depth:]), misfit.error) from None
        elements = elements.values()
    level, per_root = elements, 1
    wrong = None  # no exception: in a variable, its frames would hold themselves
    try:
        while depth < len(shape):
            size = shape[depth]
            at = first_other(type, level, ARRAYS)
            at = first_other(len, level if at == len(level) else level[:at], {size})
            if at < len(level):  # what comes before it in the text may be wrong deeper down
                wrong = at // per_root, _shape_error(level[at], depth, shape)
                level = level[:at]
            depth += 1
            if LongArray in map(type, level):
                array = _flatten_long(level, depth, shape, dtype)
                break
            level = list(chain.from_iterable(level))
            per_root *= size
        else:
            array = to_array(_leaves(level, shape, dtype), dtype)
    except Misfit as deeper:
        raise Misfit(deeper.root // per_root, deeper.error) from None
    if wrong is not None:
        raise Misfit(*wrong)
    return array


def _flatten_long(
    level: list[list[JsonValue] | LongArray], depth: int, shape: tuple[int, ...], dtype: int
) -> np.ndarray:
    """As `_flatten`, for the elements of some arrays."""
    arrays = []
    for at, array in enumerate(level):
        for elements in array.blocks() if isinstance(array, LongArray) else (array,):
            try:
                arrays.append(_flatten(elements, depth, shape, dtype))
            except Misfit as misfit:
                raise Misfit(at, misfit.error) from None
    return np.concatenate(arrays)


def _leaves(level: list[JsonValue], shape: tuple[int, ...], dtype: int) -> list[JsonValue]:
    try:
        return scalars(level, dtype)
    except Misfit as misfit:
        error = misfit.error
        if isinstance(level[misfit.root], list | LongArray):
            error = invalid(f"Encountered list at unexpected level: {len(shape)} expected < {len(shape)}")
        raise Misfit(misfit.root, error) from None


def _shape_error(value: JsonValue, level: int, shape: tuple[int, ...]) -> ServingError:
    """Why a value cannot stand where a list is expected."""
    if isinstance(value, list | LongArray):
        return invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    return invalid(
        f"JSON Value: {quoted_value(value)} found at incorrect level: {level + 1} in the JSON DOM. "
        f"Expected at level: {len(shape)}"
    )


def scalars(values: list[JsonValue], dtype: int) -> list[JsonValue]:
    """Scalars of a tensor, strings as bytes. Raises Misfit: the first one whose JSON type does not fit."""
    if dtype == STRING:
        return _strings(values)
    fitting = _FITTING.get(dtype, frozenset())
    if fitting.issuperset(map(type, values)):
        if dtype not in INTEGERS or not values:
            return values
        low, high = INTEGERS[dtype]
        if low <= min(values) and max(values) <= high:
            return values
        at = next(i for i, value in enumerate(values) if not low <= value <= high)
    elif dtype in INTEGERS:
        low, high = INTEGERS[dtype]
        at = next(i for i, value in enumerate(values) if type(value) is not int or not low <= value <= high)
    else:
        at = first_other(type, values, fitting)
    raise Misfit(at, _type_error(values[at], dtype))


def _strings(values: list[JsonValue]) -> list[bytes]:
    """Strings and base64 objects as bytes. Raises Misfit."""
    strings = byte_strings(values)
    if len(strings) < len(values):
        raise Misfit(len(strings), _string_error(values[len(strings)]))
    return strings


def byte_strings(values: list[JsonValue]) -> list[bytes]:
    """The bytes of strings and base64 objects up to the first value that is wrong."""
    if _TEXT.issuperset(map(type, values)):
        return encode_all(values)
    if _OBJECTS.issuperset(map(type, values)):
        return _decoded(values)
    wrong = first_other(type, values, _STRINGS)
    kinds = np.fromiter(map(is_, map(type, values[:wrong]), repeat(dict)), bool, wrong)
    decoded = _decoded(list(compress(values, kinds.tolist())))
    objects = np.flatnonzero(kinds)
    if len(decoded) < len(objects):
        kinds = kinds[: objects[len(decoded)]]
    encoded = encode_all(list(compress(values, (~kinds).tolist())))
    strings = np.empty(len(kinds), object)
    strings[kinds] = np.fromiter(decoded, object, len(decoded))
    strings[~kinds] = np.fromiter(encoded, object, len(encoded))
    return strings.tolist()


def _string_error(value: JsonValue) -> ServingError:
    if not is_object(value):
        return _type_error(value, STRING)
    try:
        decode_base64(value)
    except ServingError as error:
        return error
    raise AssertionError("A text that was wrong is right")


def _decoded(values: list[dict[str, JsonValue]]) -> list[bytes]:
    """The bytes of objects up to the first that is no base64 object, or whose text is none."""
    values = values[: first_other(len, values, {1})]
    try:
        texts = list(map(itemgetter("b64"), values))
    except KeyError:
        named = list(map(contains, values, repeat("b64")))
        texts = list(map(itemgetter("b64"), values[: named.index(False)]))
    texts = texts[: first_other(type, texts, _TEXT)]
    left = list(map(and_, map(len, texts), repeat(3)))
    padded = texts
    if any(left) and "=" not in "".join(compress(texts, left)):
        padded = list(map(add, texts, map(_PADS.__getitem__, left)))
    with contextlib.suppress(ValueError):
        decoded = [a2b_base64(text, strict_mode=True) for text in padded]
        joined = "".join(padded)
        # the standard library takes `AAAA=` for right
        if 4 * (sum(map(len, decoded)) + joined.count("=")) == 3 * len(joined):
            return decoded
    joined = _SEPARATOR.join([*texts, ""])
    if joined.count(_SEPARATOR) > len(texts):
        texts = texts[: list(map(contains, texts, repeat(_SEPARATOR))).index(True)]
        joined = _SEPARATOR.join([*texts, ""])
    octets = joined.encode("utf-8", "surrogatepass").translate(_PADDING, _WHITE_SPACE)
    right = _BASE64_TEXTS.match(octets).group().split(_SEPARATOR.encode())[:-1]  # type: ignore[union-attr]
    return list(
        map(
            a2b_base64, map(add, right, map(_ENCODED_PADS.__getitem__, map(and_, map(len, right), repeat(3))))
        )
    )


def _type_error(value: JsonValue, dtype: int) -> ServingError:
    if dtype not in _FITTING and not is_object(value):
        what = f"Conversion of JSON Value: {quoted_value(value)} to type: {dtype_name(dtype)}"
        return ServingError(Code.UNIMPLEMENTED, what)
    return format_error(value, f"Type: {type_word(value)} is not of expected type: {dtype_name(dtype)}")


def check_rank(rank: int, name: str) -> None:
    """Raises ServingError: more dimensions than a tensor (or an array) can have."""
    if rank > MAX_RANK:
        raise invalid(f"tensor parsing error: {name}")


def to_array(values: list[JsonValue], dtype: int) -> np.ndarray:
    """Checked scalars as an array of one dimension. int8, int16 and uint8 wrap around, as int32 values do in the real
    server."""
    target = numpy_dtype(dtype)
    if dtype in FLOATS:
        if len(values) <= _FEW and target == np.float32 and all(map(_is_plain_single, values)):
            return np.array(values, target)
        return narrow(np.array(values, np.float64), target)
    if dtype == STRING:
        array = np.empty(len(values), object)
        array[:] = values
        return array
    if dtype in INTEGERS:
        wide = np.uint64 if INTEGERS[dtype][1] >= 2**63 else np.int64
        return np.array(values, wide).astype(target)
    return np.array(values, target)


def _is_plain_single(value: float) -> bool:
    """Whether a float32 holds about the same number, and not as a denormal one."""
    return _SMALLEST_SINGLE <= abs(value) <= _LARGEST_SINGLE or value == 0


def narrow(array: np.ndarray, target: np.dtype) -> np.ndarray:
    """Doubles as floats of the wanted size; too large ones become infinite, denormal ones zero (their sign
    stays): the real server's HTTP threads run with denormals flushed."""
    if array.dtype != target:
        with np.errstate(over="ignore", under="ignore"):
            array = array.astype(target)
    small = np.abs(array) < _SMALLEST[target]
    if small.any():
        array[small] *= 0
    return array
