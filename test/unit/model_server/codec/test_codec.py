"""The codec as a whole: what is encoded is decoded again, in both formats and by both scanners, and no kind of body
has its values looked at one by one."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import tracemalloc
import types
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from support.control import DAEMON
from tfsd.model_server.codec import dtypes
from tfsd.model_server.codec import parse as parsing
from tfsd.model_server.codec.codec import decode_predict, encode_predictions
from tfsd.model_server.errors import Code, ServingError

NUMBERS = sorted(dtypes.FLOATS | dtypes.INTEGERS.keys() | {dtypes.BOOL})
ROWS = (b"predictions", b"instances")
COLUMNS = (b"outputs", b"inputs")
SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5)


def numbers(dtype: int, shape: tuple[int, ...] | st.SearchStrategy[Any]) -> st.SearchStrategy[np.ndarray]:
    numpy_dtype = dtypes.numpy_dtype(dtype)
    elements = None
    if numpy_dtype.kind == "f":
        elements = hnp.from_dtype(numpy_dtype, allow_subnormal=False)
    return hnp.arrays(numpy_dtype, shape, elements=elements)


def strings(shape: tuple[int, ...] | st.SearchStrategy[Any]) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(object, shape, elements=st.binary(max_size=8), fill=st.nothing())


ANY_DTYPE = st.sampled_from([*NUMBERS, dtypes.STRING])


@st.composite
def typed_arrays(draw: st.DrawFn, shapes: Any = SHAPES) -> tuple[int, np.ndarray]:
    dtype = draw(ANY_DTYPE)
    strategy = strings(shapes) if dtype == dtypes.STRING else numbers(dtype, shapes)
    return dtype, draw(strategy)


def assert_same(got: np.ndarray, want: np.ndarray) -> None:
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)
    if want.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(got[~np.isnan(got)]), np.signbit(want[~np.isnan(want)]))


def round_trip(arrays: dict[str, np.ndarray], dtypes: dict[str, int], row_format: bool) -> dict[str, Any]:
    answered, asked = ROWS if row_format else COLUMNS
    body = encode_predictions(arrays, row_format).replace(answered, asked, 1)
    _, was_row_format, decoded = decode_predict(body, lambda signature: dtypes)
    assert was_row_format == row_format
    return decoded


@given(typed_arrays(), st.booleans(), st.sampled_from(("x", "x_bytes")))
def test_one_tensor_comes_back(typed: tuple[int, np.ndarray], row_format: bool, name: str) -> None:
    dtype, array = typed

    assert_same(round_trip({name: array}, {name: dtype}, row_format)[name], array)


@given(st.data(), st.booleans(), st.integers(1, 20))
def test_several_tensors_come_back(data: st.DataObject, row_format: bool, rows: int) -> None:
    shapes = hnp.array_shapes(min_dims=0, max_dims=2, max_side=4).map(lambda shape: (rows, *shape))
    typed = data.draw(
        st.dictionaries(st.sampled_from(("a", "b", "null", "c_bytes")), typed_arrays(shapes), min_size=2)
    )
    arrays = {name: array for name, (_, array) in typed.items()}

    decoded = round_trip(arrays, {name: dtype for name, (dtype, _) in typed.items()}, row_format)

    for name, array in arrays.items():
        assert_same(decoded[name], array)


@given(typed_arrays())
def test_row_and_column_format_agree(typed: tuple[int, np.ndarray]) -> None:
    dtype, array = typed
    rows = round_trip({"x": array}, {"x": dtype}, True)["x"]
    columns = round_trip({"x": array}, {"x": dtype}, False)["x"]

    assert_same(rows, columns)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_a_scalar_comes_back_in_columns(dtype: int) -> None:
    scalar = np.ones((), dtypes.numpy_dtype(dtype))

    assert_same(round_trip({"x": scalar}, {"x": dtype}, False)["x"], scalar)


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.sampled_from((2**31, 2**32, 2**63, 2**64, -(2**63) - 1))
    | st.floats()
    | st.sampled_from(("", "a", "true", "Infinity", "ünull", "e5"))
    | st.sampled_from(({"b64": "YQ=="}, {"b64": "!"}, {"b64": 1}, {"x": 1.5}))
)
NESTED = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=8)
NAMED = st.dictionaries(st.sampled_from(("x", "y", "b64")), NESTED, max_size=3)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.sampled_from(("", "s", 1)),
        "instances": st.lists(NESTED | NAMED, max_size=3) | NESTED,
        "inputs": NESTED | NAMED,
        "other": LEAVES,
    },
)
MANGLE = st.sampled_from(
    (
        lambda text: text,
        lambda text: text + " tail",
        lambda text: text.replace('"x"', '"x":1.5,"x"', 1),
        lambda text: text.replace('{"', '{"instances":[7],"', 1),
        lambda text: text.replace("1", "1e400", 1),
        lambda text: text.replace("1", "0e999", 1),
        lambda text: text.replace("a", "\\u0061", 1),
        lambda text: text.replace("]", ",]", 1),
        lambda text: text.replace("0", "-0", 1),
    )
)


def outcome(body: bytes, dtypes: dict[str, int]) -> Any:
    try:
        signature, row_format, arrays = decode_predict(body, lambda signature: dtypes)
    except ServingError as error:
        return error.code, error.message
    return signature, row_format, {name: (a.dtype, a.shape, repr(a.tolist())) for name, a in arrays.items()}


@given(BODIES, MANGLE, st.dictionaries(st.sampled_from(("x", "y")), ANY_DTYPE, max_size=2))
@example({"instances": [1.0, True]}, lambda text: text, {"x": dtypes.FLOAT})
@example({"instances": [1e39]}, lambda text: text, {"x": dtypes.FLOAT})
@example({"instances": [{"x": 1}]}, lambda text: text.replace('"x"', '"x":1.5,"x"', 1), {"x": dtypes.FLOAT})
def test_it_makes_no_difference_which_scanner_reads_a_body(
    document: Any, mangle: Any, dtypes: dict[str, int]
) -> None:
    body = mangle(json.dumps(document, separators=(",", ":"), ensure_ascii=False)).encode()
    with pytest.MonkeyPatch.context() as monkeypatch:
        judge = types.SimpleNamespace(
            loads=lambda text: orjson.loads(text + b"x"), JSONDecodeError=orjson.JSONDecodeError
        )
        monkeypatch.setattr(parsing, "orjson", judge)  # which makes no values
        wanted = outcome(body, dtypes)

    assert outcome(body, dtypes) == wanted


def test_a_text_among_numbers_costs_no_memory() -> None:
    body = b'{"instances":[' + b"1," * 20_000 + b'"' + b"a" * 20_000 + b'"]}'
    tracemalloc.start()
    try:
        with pytest.raises(ServingError, match="Failed to process element: 20000 of 'instances' list"):
            decode_predict(body, lambda signature: {"x": dtypes.FLOAT})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 20 * len(body) + 1e6


MANY = 10_000


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            b"1," * MANY + b"true",
            "element: 10000 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: true",
        ),
        (b"[[1],[2]]," * MANY + b"[[1],[[2]]]", "element: 10000 of 'instances' list."),
        (b"[[1],[2]]," * MANY + b"[[1],[2],[3]]", "Expecting tensor size: 2 but got: 3"),
        (b"[[1],[2]]," * MANY + b"[[1,2]]", "Expecting shape [2,1] but got: [1,2]"),
        (b"[]," * MANY + b"[1]", "Expecting tensor size: 0 but got: 1"),
        (b"[" + b"1," * MANY + b'"a"]', "Type: String is not of expected type: int32"),
        (b"[" + b"1," * MANY + b"3000000000]", "JSON Value: 3000000000 Type: Number"),
        (b"[[" + b"1," * MANY + b"1],[1]]", "Encountered list at unexpected size: 1 at level: 1 expected"),
        (
            b"[1,[1]]," + b"[1,2]," * MANY + b"[1]",
            "element: 0 of 'instances' list. Error: INVALID_ARGUMENT: Enc",
        ),
    ],
)
def test_no_value_is_looked_at_by_itself(values: bytes, message: str) -> None:
    assert calls_of_ours(b'{"instances":[' + values + b"]}", {"x": dtypes.INT32}, message) < MANY / 10


def calls_of_ours(body: bytes, inputs: dict[str, int], message: str | None) -> int:
    """How many of our functions are called for a body, which is refused with a message that has `message` in it."""
    calls = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        # others' functions are called by the garbage collector, too
        ours = frame.f_code.co_filename.startswith(str(DAEMON))
        calls += ours and event == "call" and frame.f_code.co_name != "<genexpr>"

    refusal = (
        contextlib.nullcontext() if message is None else pytest.raises(ServingError, match=re.escape(message))
    )
    sys.setprofile(profile)
    try:
        with refusal:
            decode_predict(body, lambda signature: inputs)
    finally:
        sys.setprofile(None)
    return calls


ROWS_OF_OBJECTS = {
    "right": (b'{"x":1}', b'{"x":1}', None),
    "an escape": (b'{"x":1}', b'{"\\u0078":1}', None),
    "NaN": (b'{"x":1}', b'{"x":NaN}', None),
    "ragged": (b'{"x":[1]}', b'{"x":[1,2]}', "element: 10000 key: x of 'instances' list"),
    "a wrong name at the end": (b'{"x":1}', b'{"y":1}', "element: 10000 key: y of 'instances' list"),
    "wrong names": (b'{"y":1}', b'{"y":1}', "element: 0 key: y of 'instances' list"),
    "a name is missing": (b'{"x":1}', b"{}", "element: 10000 of 'instances' list. JSON object: {}"),
    "no object": (b'{"x":1}', b"1", "Expecting object but got list at item 10000"),
    "an object among numbers": (b"1", b'{"x":1}', "Expecting value/list but got object at item 10000"),
    "an object in it": (b'{"x":1}', b'{"x":{"y":1}}', "element: 10000 key: x"),
    "cut short": (b'{"x":1}', b'{"x":1', "Missing a comma or '}' after an object member."),
}


@pytest.mark.parametrize(("row", "last", "message"), ROWS_OF_OBJECTS.values(), ids=ROWS_OF_OBJECTS.keys())
def test_no_row_is_looked_at_by_itself(row: bytes, last: bytes, message: str | None) -> None:
    body = b'{"instances":[' + (row + b",") * MANY + last + b"]}"

    assert calls_of_ours(body, {"x": dtypes.DOUBLE}, message) < MANY / 10


def test_values_that_wrap_and_overflow_as_in_the_real_server() -> None:
    def decoded(text: str, dtype: int) -> list[Any]:
        body = f'{{"inputs":{text}}}'.encode()
        return decode_predict(body, lambda signature: {"x": dtype})[2]["x"].tolist()

    assert decoded("[300,-1]", dtypes.INT8) == [44, -1]
    assert decoded("[40000]", dtypes.INT16) == [-25536]
    assert decoded("[-1,256]", dtypes.UINT8) == [255, 0]
    assert decoded("[1e39,1e-45]", dtypes.FLOAT) == [float("inf"), 0.0]


def test_a_name_given_twice_counts_once_in_rows() -> None:
    body = b'{"instances":[{"x":1,"x":2},{"x":3}]}'

    assert decode_predict(body, lambda signature: {"x": dtypes.INT32})[2]["x"].tolist() == [1, 2]


def test_looks_for_the_signature_before_it_reads_values() -> None:
    def refuse(signature: str) -> dict[str, int]:
        raise ServingError(Code.NOT_FOUND, f"no {signature}")

    with pytest.raises(ServingError, match="NOT_FOUND: no é"):
        decode_predict('{"signature_name":"é","instances":7}'.encode(), refuse)


@pytest.mark.parametrize(
    ("outputs", "row_format", "message"),
    [
        ({}, True, "Cannot convert empty tensor map to JSON"),
        ({"y": np.float32(1)}, True, "Tensor name: y has no shape information "),
        (
            {"b": np.zeros(4), "a": np.zeros(2)},
            True,
            "Tensor name: a has inconsistent batch size: 2 expecting: 4",
        ),
        ({"y": np.zeros(1, np.float16)}, False, "Failed to write JSON value for tensor type: half"),
        ({"y": np.zeros(99, np.complex64)}, True, "Failed to write JSON value for tensor type: complex64"),
        ({"y": np.zeros(1, np.uint16)}, True, "Failed to write JSON value for tensor type: uint16"),
    ],
)
def test_says_which_outputs_have_no_json_form(outputs: Any, row_format: bool, message: str) -> None:
    arrays = {name: np.asarray(value) for name, value in outputs.items()}

    with pytest.raises(ServingError) as caught:
        encode_predictions(arrays, row_format)

    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, message)
