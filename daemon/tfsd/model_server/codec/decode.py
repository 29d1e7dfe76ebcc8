"""Request bodies to arrays and examples, value by value, as TensorFlow Serving's json_tensor does it.

Owns the order of checks and the texts of the errors (behaviour of tensorflow_model_server 2.20). Never parses
text (`json_parse`) and never sees a model: it is told the inputs' names and dtypes.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from tfsd.model_server.codec.dtypes import BOOL, FLOATS, INTEGERS, STRING, dtype_name, numpy_dtype
from tfsd.model_server.codec.parse import JsonObject, JsonValue
from tfsd.model_server.codec.text import quoted_value
from tfsd.model_server.errors import Code, ServingError, invalid

#: Input name -> number of its TensorFlow dtype (`DataType` in types.proto).
Inputs = Mapping[str, int]
#: Signature name (empty: the default one) -> its inputs; raises ServingError for what cannot be served.
FindInputs = Callable[[str], Inputs]

_MAX_TENSOR_RANK, _MAX_ARRAY_RANK = 254, 64
_SMALLEST = {dtype: np.finfo(dtype).tiny for dtype in map(numpy_dtype, FLOATS)}
_WORDS = {type(None): "Null", JsonObject: "Object", list: "Array", bytes: "String"}
_BASE64_SPACE = re.compile(rb"[ \t\n\v\f\r]+")
_BASE64 = re.compile(rb"([A-Za-z0-9+/]*)([=.]*)")


def text(name: bytes) -> str:
    """Bytes of a JSON string as str; those that are no UTF-8 are kept (surrogateescape)."""
    return name.decode("utf-8", "surrogateescape")


def type_word(value: JsonValue) -> str:
    """RapidJSON's name of a value's type."""
    if isinstance(value, bool):
        return str(value)
    return _WORDS.get(type(value), "Number")


def format_error(value: JsonValue, what: str) -> ServingError:
    """The error that quotes the offending value."""
    return invalid(f"JSON Value: {quoted_value(value)} {what}")


def top_level(value: JsonValue) -> JsonObject:
    """The body's object. Raises ServingError if it is something else."""
    if not isinstance(value, JsonObject):
        raise format_error(value, "Is not object")
    return value


def signature_name(body: JsonObject) -> str:
    """The signature that a body asks for, empty when it names none."""
    member = body.find(b"signature_name")
    if member is None:
        return ""
    if not isinstance(member[1], bytes):
        raise format_error(body, "not formatted correctly. 'signature_name' key must be a string value.")
    return text(member[1])


def decode_predict(body: JsonValue, find_inputs: FindInputs) -> tuple[str, bool, dict[str, np.ndarray]]:
    """A :predict body.

    Returns: the signature's name as sent, whether it is row format (`instances`), input name -> array.
    Raises ServingError: what is wrong, in the real server's order: object, signature name, servable and
        signature (`find_inputs`), then the values.
    """
    request = top_level(body)
    signature = signature_name(request)
    inputs = find_inputs(signature)
    if not inputs:
        raise invalid(f"Failed to get input map for signature: {signature or 'DEFAULT'}")
    instances, columns = request.find(b"instances"), request.find(b"inputs")
    if instances is None and columns is None:
        raise invalid("Missing 'inputs' or 'instances' key")
    if instances is None:
        assert columns is not None
        return signature, False, _decode_columns(columns[1], inputs)
    if columns is not None:
        what = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        raise format_error(request, what)
    if not isinstance(instances[1], list):
        raise format_error(request, "Expecting 'instances' to be an list/array")
    if not instances[1]:
        raise format_error(request, "No values in 'instances' array")
    return signature, True, _decode_rows(instances[1], inputs)


def is_base64(value: JsonValue) -> bool:
    """Whether a value is `{"b64": "..."}`, with that key alone."""
    return (
        isinstance(value, JsonObject)
        and len(value.members) == 1
        and value.members[0][0] == b"b64"
        and isinstance(value.members[0][1], bytes)
    )


def decode_base64(value: JsonObject) -> bytes:
    """The bytes of a base64 object. Raises ServingError if it is none, or its text is not base64."""
    if not is_base64(value):
        raise format_error(value, "not formatted correctly for base64 data")
    return base64_bytes(value.members[0][1])


def base64_bytes(encoded: bytes) -> bytes:
    """What base64 text stands for. Raises ServingError if it is none.

    White space is skipped, padding may be left out and may be dots (absl::Base64Unescape).
    """
    match = _BASE64.fullmatch(_BASE64_SPACE.sub(b"", encoded))
    left = len(match[1]) % 4 if match else 1
    if match is None or left == 1 or len(match[2]) not in (0, -left % 4):
        raise invalid("Unable to base64 decode")
    return binascii.a2b_base64(match[1] + b"=" * (-left % 4))


def dense_shape(value: JsonValue) -> tuple[int, ...]:
    """The shape that the first element of each level announces."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _leaves(value: JsonValue, shape: tuple[int, ...]) -> Iterator[JsonValue]:
    """The scalars of nested lists of that shape, in order. Raises ServingError where it is another one."""
    rank = len(shape)
    stack: list[Iterator[JsonValue]] = [iter((value,))]
    while stack:
        level = len(stack) - 1
        for element in stack[-1]:
            if not isinstance(element, list):
                if level != rank:
                    raise invalid(
                        f"JSON Value: {quoted_value(element)} found at incorrect level: {level + 1} "
                        f"in the JSON DOM. Expected at level: {rank}"
                    )
                yield element
                continue
            if level >= rank:
                raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
            if len(element) != shape[level]:
                raise invalid(
                    f"Encountered list at unexpected size: {len(element)} at level: {level} "
                    f"expected size: {shape[level]}"
                )
            stack.append(iter(element))
            break
        else:
            stack.pop()


def _scalar(value: JsonValue, dtype: int) -> JsonValue:
    """A scalar for a tensor of that dtype. Raises ServingError if JSON's type does not fit."""
    if isinstance(value, JsonObject):
        if dtype == STRING:
            return decode_base64(value)
        raise _type_error(value, dtype)
    kind = type(value)
    if dtype in FLOATS:
        fits = kind is int or kind is float
    elif dtype in INTEGERS:
        low, high = INTEGERS[dtype]
        fits = kind is int and low <= value <= high
    elif dtype in (STRING, BOOL):
        fits = kind is (bytes if dtype == STRING else bool)
    else:
        what = f"Conversion of JSON Value: {quoted_value(value)} to type: {dtype_name(dtype)}"
        raise ServingError(Code.UNIMPLEMENTED, what)
    if not fits:
        raise _type_error(value, dtype)
    return value


def _type_error(value: JsonValue, dtype: int) -> ServingError:
    return format_error(value, f"Type: {type_word(value)} is not of expected type: {dtype_name(dtype)}")


def build_array(values: list[JsonValue], shape: tuple[int, ...], dtype: int, name: str) -> np.ndarray:
    """Checked scalars as an array. int8, int16 and uint8 wrap around, as int32 values do in the real server.

    Raises ServingError: more dimensions than a tensor (or an array) can have.
    """
    if len(shape) > min(_MAX_TENSOR_RANK, _MAX_ARRAY_RANK):
        raise invalid(f"tensor parsing error: {name}")
    target = numpy_dtype(dtype)
    if dtype in FLOATS:
        array = narrow(np.array(values, np.float64), target)
    elif dtype == STRING:
        array = np.empty(len(values), object)
        array[:] = values
    elif dtype in INTEGERS:
        wide = np.uint64 if INTEGERS[dtype][1] >= 2**63 else np.int64
        array = np.array(values, wide).astype(target)
    else:
        array = np.array(values, target)
    return array.reshape(shape)


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


@dataclass(slots=True)
class _Column:
    """What the rows gave for one input so far."""

    shape: tuple[int, ...]
    size: int
    values: list[JsonValue] = field(default_factory=list)


def _decode_columns(value: JsonValue, inputs: Inputs) -> dict[str, np.ndarray]:
    if isinstance(value, JsonObject) and not is_base64(value):
        arrays = {}
        for name, dtype in inputs.items():
            member = value.find(name.encode())
            if member is None:
                raise invalid(f"Missing named input: {name} in 'inputs' object.")
            arrays[name] = _decode_tensor(member[1], dtype, name)
        return arrays
    if len(inputs) > 1:
        raise invalid(
            "inputs is a plain value/list, but expecting an object as multiple input tensors required "
            "as per tensorinfo_map"
        )
    ((name, dtype),) = inputs.items()
    return {name: _decode_tensor(value, dtype, name)}


def _decode_tensor(value: JsonValue, dtype: int, name: str) -> np.ndarray:
    shape = dense_shape(value)
    return build_array([_scalar(leaf, dtype) for leaf in _leaves(value, shape)], shape, dtype, name)


def _decode_rows(rows: list[JsonValue], inputs: Inputs) -> dict[str, np.ndarray]:
    if len(inputs) > 1 and not isinstance(rows[0], JsonObject):
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map"
        )
    named = isinstance(rows[0], JsonObject) and not is_base64(rows[0])
    columns: dict[str, _Column] = {}
    for index, row in enumerate(rows):
        if named != (isinstance(row, JsonObject) and not is_base64(row)):
            wanted, got = ("object", "list") if named else ("value/list", "object")
            raise invalid(f"Expecting {wanted} but got {got} at item {index} of input list")
        if named:
            _add_named_row(row, index, inputs, columns)
        else:
            name = next(iter(inputs))
            with_place = f"Failed to process element: {index} of 'instances' list."
            _add_item(row, name, inputs, columns, with_place)
    return {
        name: build_array(  # a name given twice in a row left values over: the first ones count
            column.values[: len(rows) * column.size], (len(rows), *column.shape), inputs[name], name
        )
        for name, column in columns.items()
    }


def _add_named_row(row: JsonObject, index: int, inputs: Inputs, columns: dict[str, _Column]) -> None:
    names = set()
    for key, value in row.members:
        name = text(key.partition(b"\0")[0])  # the real server takes the name as a C string
        names.add(name)
        _add_item(
            value,
            name,
            inputs,
            columns,
            f"Failed to process element: {index} key: {name} of 'instances' list.",
        )
    if names != inputs.keys():
        raise invalid(
            f"Failed to process element: {index} of 'instances' list. JSON object: {quoted_value(row)} "
            f"keys must be equal to: {','.join(sorted(inputs))}"
        )


def _add_item(
    value: JsonValue, name: str, inputs: Inputs, columns: dict[str, _Column], with_place: str
) -> None:
    try:
        if name not in inputs:
            raise invalid(f"JSON object: does not have named input: {name}")
        shape = dense_shape(value)
        values = [_scalar(leaf, inputs[name]) for leaf in _leaves(value, shape)]
        column = columns.setdefault(name, _Column(shape, len(values)))
        if column.size != len(values):
            raise invalid(f"Expecting tensor size: {column.size} but got: {len(values)}")
        if column.shape != shape:
            raise invalid(f"Expecting shape {_shape_text(column.shape)} but got: {_shape_text(shape)}")
        column.values.extend(values)
    except ServingError as error:
        raise invalid(f"{with_place} Error: {error}") from None


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
