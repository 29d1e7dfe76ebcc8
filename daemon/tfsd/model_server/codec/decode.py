"""Request bodies to arrays, as TensorFlow Serving's json_tensor does it: rows, columns and their names.

Owns the order of checks and the texts of the errors (behaviour of tensorflow_model_server 2.20). Never parses
text (`parse`) and never sees a model: it is told the inputs' names and dtypes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NoReturn, cast

import numpy as np

from tfsd.model_server.codec.long_arrays import Block, LongArray, first_of
from tfsd.model_server.codec.octets import encode
from tfsd.model_server.codec.parse import (
    OBJECTS,
    JsonObject,
    JsonValue,
    find,
    is_object,
    members_of,
    members_of_all,
)
from tfsd.model_server.codec.text import quoted_value
from tfsd.model_server.codec.values import (
    Elements,
    Misfit,
    check_rank,
    columns_of,
    dense_shape,
    first_other,
    first_true,
    flatten,
    format_error,
    is_base64,
    name_of,
    names_of,
    scalars,
    to_array,
)
from tfsd.model_server.errors import ServingError, invalid

#: Input name -> number of its TensorFlow dtype (`DataType` in types.proto).
Inputs = Mapping[str, int]
#: Signature name (empty: the default one) -> its inputs; raises ServingError for what cannot be served.
FindInputs = Callable[[str], Inputs]


def top_level(value: JsonValue) -> JsonObject:
    """The body's object. Raises ServingError if it is something else."""
    if not is_object(value):
        raise format_error(value, "Is not object")
    return cast(JsonObject, value)


def signature_name(body: JsonObject) -> str:
    """The signature that a body asks for, empty when it names none."""
    member = find(body, "signature_name")
    if member is None:
        return ""
    if not isinstance(member[1], str):
        raise format_error(body, "not formatted correctly. 'signature_name' key must be a string value.")
    return encode(member[1]).decode("utf-8", "surrogateescape")


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
    instances, columns = find(request, "instances"), find(request, "inputs")
    if instances is None and columns is None:
        raise invalid("Missing 'inputs' or 'instances' key")
    if instances is None:
        assert columns is not None
        return signature, False, _decode_columns(columns[1], inputs)
    if columns is not None:
        what = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        raise format_error(request, what)
    if not isinstance(instances[1], list | LongArray):
        raise format_error(request, "Expecting 'instances' to be an list/array")
    if not instances[1]:
        raise format_error(request, "No values in 'instances' array")
    return signature, True, _decode_rows(instances[1], inputs)


def _decode_columns(value: JsonValue, inputs: Inputs) -> dict[str, np.ndarray]:
    if is_object(value) and not is_base64(value):
        arrays = {}
        for name, dtype in inputs.items():
            member = find(value, name)
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
    check_rank(len(shape), name)
    try:
        return flatten([value], shape, dtype).reshape(shape)
    except Misfit as misfit:
        raise misfit.error from None


def _decode_rows(rows: list[JsonValue] | LongArray, inputs: Inputs) -> dict[str, np.ndarray]:
    first = first_of(rows)
    if len(inputs) > 1:
        if not is_object(first):
            raise invalid(
                "instances is a plain list, but expecting list of objects as multiple input tensors required "
                "as per tensorinfo_map"
            )
    elif isinstance(rows, list) and not _is_named(first):
        ((name, dtype),) = inputs.items()
        shape = dense_shape(first)
        check_rank(1 + len(shape), name)
        try:
            return {name: flatten(rows, shape, dtype).reshape(len(rows), *shape)}
        except Misfit as misfit:
            _Rows(first, inputs).check(rows, len(rows), misfit.root)
            raise AssertionError("A row that was wrong is right") from None
    return _decode_each(rows, first, inputs)


def _decode_each(
    rows: list[JsonValue] | LongArray, first: JsonValue, inputs: Inputs
) -> dict[str, np.ndarray]:
    reader = _Rows(first, inputs)
    for block in rows.blocks() if isinstance(rows, LongArray) else (rows,):
        reader.read(block)
    return reader.arrays()


def _is_named(row: JsonValue) -> bool:
    """Whether a row is an object of inputs."""
    return is_object(row) and not is_base64(row)


def _values(elements: Elements) -> list[JsonValue]:
    return elements if isinstance(elements, list) else elements.values()


class _Rows:
    """Reads rows, which are all named or all plain, into columns: what each input gets."""

    def __init__(self, first: JsonValue, inputs: Inputs) -> None:
        """`first`: the first row, like which all others must be."""
        self._first = first
        self._inputs = inputs
        self._named = _is_named(first)
        self._shapes: dict[str, tuple[int, ...]] = {}  # of each row's value
        self._columns: dict[str, list[np.ndarray]] = {name: [] for name in inputs}
        self._count = 0

    def arrays(self) -> dict[str, np.ndarray]:
        """Input name -> the values of all rows; those are a first dimension."""
        arrays = {}
        for name, columns in self._columns.items():
            if not columns:  # a base64 object passed for a row of several inputs
                continue
            shape = (self._count, *self._shapes[name])
            values = columns[0] if len(columns) == 1 else np.concatenate(columns)
            # a name given twice in a row left values over: the first ones count
            arrays[name] = values[: math.prod(shape)].reshape(shape)
        return arrays

    def read(self, block: Elements) -> None:
        """Read the next rows. Raises ServingError: the first thing that is wrong in them."""
        if not (self._named and isinstance(block, Block) and self._read_alike(block)):
            self._read_any(block)
        self._count += len(block)

    def _read_alike(self, block: Block) -> bool:
        """Read rows if it is plain that they are like the first one, and right; else False."""
        first = cast(dict[str, JsonValue], self._first)  # in a long body no name is repeated
        if first.keys() != self._inputs.keys():
            return False
        columns = block.named_scalars({name: self._shape(name, value) for name, value in first.items()})
        if columns is None:
            return False
        dtypes = list(map(self._inputs.__getitem__, first))
        try:
            arrays = list(map(to_array, map(scalars, columns, dtypes), dtypes))
        except Misfit:
            return False
        for name, array in zip(first, arrays, strict=True):
            self._columns[name].append(array)
        return True

    def _read_any(self, block: Elements) -> None:
        rows = block
        if self._named:
            rows = _values(block)
            alike, wrong = self._read_named(rows)
        else:
            alike, wrong = len(block), self._read_plain(block)
        self.check(rows, alike, wrong)

    def check(self, rows: Elements, alike: int, wrong: int) -> None:
        """Raises ServingError: what is wrong with some of the next rows.

        Args:
            alike: how many of them, from the first on, are of the first row's kind, as far as is known.
            wrong: the first that is wrong; those before it are right.
        """
        if wrong < len(rows):
            row = _values(rows)[wrong]
            if wrong < alike and (self._named or not _is_named(row)):
                self._refuse(row, self._count + wrong)
            alike = min(alike, wrong)
        if alike < len(rows):
            wanted, got = ("object", "list") if self._named else ("value/list", "object")
            raise invalid(f"Expecting {wanted} but got {got} at item {self._count + alike} of input list")

    def _read_plain(self, block: Elements) -> int:
        """The first row that is wrong, or how many there are."""
        name, dtype = next(iter(self._inputs.items()))  # a base64 object passes for a row of several
        try:
            self._columns[name].append(flatten(block, self._shape(name, self._first), dtype))
        except Misfit as misfit:
            return misfit.root
        return len(block)

    def _read_named(self, rows: list[JsonValue]) -> tuple[int, int]:
        """How many, from the first on, are objects of inputs, and as `_read_plain`."""
        given, alike, wrong = _given(rows, set(self._inputs))
        alike = wrong if wrong < alike and not _is_named(rows[wrong]) else alike
        for name, (values, places) in given.items():
            try:
                shape = self._shape(name, values[0]) if values else ()
                self._columns[name].append(flatten(values, shape, self._inputs[name]))
            except Misfit as misfit:
                wrong = min(wrong, int(places[misfit.root]))
        return alike, wrong

    def _shape(self, name: str, value: JsonValue) -> tuple[int, ...]:
        """The shape of an input in each row: its first value's. Raises ServingError: it has too many dimensions."""
        if name not in self._shapes:
            self._shapes[name] = dense_shape(value)
            check_rank(1 + len(self._shapes[name]), name)
        return self._shapes[name]

    def _refuse(self, row: JsonValue, index: int) -> NoReturn:
        """Raises ServingError: what is wrong with a row; those before it are right."""
        shapes: dict[str, tuple[int, ...]] = {}
        if not self._named:
            name = next(iter(self._inputs))
            if index:
                shapes[name] = dense_shape(self._first)
            place = f"Failed to process element: {index} of 'instances' list."
            _check_item(row, name, self._inputs, shapes, place)
            raise AssertionError("A row that was wrong is right")
        for key, value in reversed(members_of(self._first)) if index else ():
            shapes[name_of(key)] = dense_shape(value)
        for key, value in members_of(row):
            name = name_of(key)
            place = f"Failed to process element: {index} key: {name} of 'instances' list."
            _check_item(value, name, self._inputs, shapes, place)
        raise invalid(
            f"Failed to process element: {index} of 'instances' list. JSON object: {quoted_value(row)} "
            f"keys must be equal to: {','.join(sorted(self._inputs))}"
        )


#: Input name -> the values that rows have for it, and the row of each.
_Given = dict[str, tuple[list[JsonValue], range | np.ndarray]]


def _given(rows: list[JsonValue], names: set[str]) -> tuple[_Given, int, int]:
    """What rows have up to the first with other names, how many (from the first on) are objects of inputs, and which it
    is that has other names (the number of rows when none has).

    A row that is base64 may be among the objects of inputs if its name is not an input's.
    """
    columns, same = columns_of(rows, names)
    alike = same
    if names == {"b64"}:
        same = first_other(type, columns["b64"], frozenset(map(type, columns["b64"])) - {str})
        columns["b64"] = columns["b64"][:same]
        alike = next((index for index in range(same, len(rows)) if not _is_named(rows[index])), len(rows))
    elif same < len(rows):
        alike += first_other(type, rows[same:], OBJECTS)
    given: _Given = {name: (values, range(same)) for name, values in columns.items()}
    given, wrong = _with_rest(given, rows[:alike] if alike < len(rows) else rows, same, names)
    return given, alike, wrong


def _with_rest(given: _Given, rows: list[JsonObject], same: int, names: set[str]) -> tuple[_Given, int]:
    """As `_given`, when what the first `same` rows have is known."""
    if same == len(rows) or {_input_of(key, names) for key in dict(rows[same])} != names:
        return given, same
    rest, wrong = _by_member(rows[same:], names)
    both: _Given = {
        name: (values + rest[name][0], np.concatenate((np.arange(same), same + rest[name][1])))
        for name, (values, _) in given.items()
    }
    return both, same + wrong


def _by_member(
    rows: list[JsonObject], names: set[str]
) -> tuple[dict[str, tuple[list[JsonValue], np.ndarray]], int]:
    """As `_given`, for names that are repeated or that stand for others (`values.name_of`)."""
    sizes = np.fromiter(map(len, rows), np.intp, len(rows))
    alike = first_true(sizes < len(names))
    keys, members = members_of_all(rows[:alike])
    order, distinct = list(names), list(set(keys))
    meant = (key if key in names else name for key, name in zip(distinct, names_of(distinct), strict=True))
    numbers = {name: number for number, name in enumerate(order)}
    numbers = {key: numbers.get(name, -1) for key, name in zip(distinct, meant, strict=True)}
    if len(order) == 1 and set(numbers.values()) == {0}:
        return {order[0]: (members, np.repeat(np.arange(alike), sizes[:alike]))}, alike
    inputs = np.fromiter(map(numbers.__getitem__, keys), np.intp, len(keys))
    places = np.repeat(np.arange(alike), sizes[:alike])
    found = np.zeros((alike, len(order) + 1), bool)  # the last column is for names that no input has
    found[places, inputs] = True
    wrong = first_true(~found[:, :-1].all(axis=1) | found[:, -1])
    end = int(sizes[:wrong].sum())
    values = np.fromiter(members, object, end)
    by_input = np.argsort(inputs[:end], kind="stable")
    ends = np.cumsum(np.bincount(inputs[:end], minlength=len(order)))[:-1]
    pieces = zip(np.split(values[by_input], ends), np.split(places[:end][by_input], ends), strict=True)
    return {
        name: (piece.tolist(), owners) for name, (piece, owners) in zip(order, pieces, strict=True)
    }, wrong


def _input_of(key: str, names: set[str]) -> str:
    """The input that a member is for, if there is one of that name."""
    return key if key in names else name_of(key)


def _check_item(
    value: JsonValue, name: str, inputs: Inputs, shapes: dict[str, tuple[int, ...]], place: str
) -> None:
    """Look at one input of one row. `shapes`: those of the inputs in the rows before; the value's is added."""
    try:
        if name not in inputs:
            raise invalid(f"JSON object: does not have named input: {name}")
        shape = dense_shape(value)
        size = len(flatten([value], shape, inputs[name]))
        wanted = shapes.setdefault(name, shape)
        if math.prod(wanted) != size:
            raise invalid(f"Expecting tensor size: {math.prod(wanted)} but got: {size}")
        if wanted != shape:
            raise invalid(f"Expecting shape {_shape_text(wanted)} but got: {_shape_text(shape)}")
    except Misfit as misfit:
        raise invalid(f"{place} Error: {misfit.error}") from None
    except ServingError as error:
        raise invalid(f"{place} Error: {error}") from None


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
