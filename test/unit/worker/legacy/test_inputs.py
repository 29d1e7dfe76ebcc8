"""What becomes of a body and of what input_fn returns, without a model server."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from typing import Any, Literal

import numpy as np
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import inference_pb2, predict_pb2

from tfsd.errors import BadRequest, HttpError
from tfsd.worker.legacy.examples import examples
from tfsd.worker.legacy.inputs import default_input_fn, parse_csv, parse_json, to_request
from tfsd.worker.prediction_service import Signature, TensorInfo

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
SCALAR = TensorInfo(types_pb2.DT_FLOAT, (-1, 2))


def signature(**inputs: TensorInfo) -> Signature:
    return Signature(1, "predict", inputs or {"x": SCALAR})


@given(JSON_VALUES)
def test_a_json_value_is_itself(value: Any) -> None:
    assert parse_json(json.dumps(value), tensors=False) == value
    parsed = parse_json(json.dumps(value), tensors=True)
    assert isinstance(parsed, tensor_pb2.TensorProto) or parsed == value


@given(st.lists(st.floats(-(2.0**127), 2.0**127, width=32)), st.sampled_from([True, False]))
def test_a_tensor_in_protobuf_s_json_is_a_tensor(values: list[Any], camel_case: bool) -> None:
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=values)
    tensor.tensor_shape.dim.add(size=len(values))
    text = json_format.MessageToJson(tensor, preserving_proto_field_name=not camel_case)
    assert parse_json(text, tensors=True) == tensor
    assert parse_json(text, tensors=False) == json.loads(text)


@pytest.mark.parametrize("text", ["{}", "[]", "1", '{"x": [1]}', '{"dtype": "NONE"}', '{"dtype": [1]}'])
def test_json_that_is_no_tensor(text: str) -> None:
    assert parse_json(text, tensors=True) == json.loads(text)


@given(st.text())
def test_any_text_is_json_or_a_400(text: str) -> None:
    with contextlib.suppress(BadRequest):
        parse_json(text, tensors=True)


def test_json_too_deep() -> None:
    with pytest.raises(BadRequest, match="nested deeper"):
        parse_json("[" * 200_000, tensors=True)


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(FLOATS, min_size=width, max_size=width), min_size=1)
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_csv_rows_are_numbers(rows: list[Any], end: str, quoting: Literal[0, 1, 2, 3]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator=end, quoting=quoting).writerows(rows)
    assert parse_csv(text.getvalue()) == (rows[0] if len(rows) == 1 else rows)


@given(st.text(alphabet='0123456789.,-+e"nai \r\nx'))
def test_any_text_is_csv_or_a_400_with_its_line(text: str) -> None:
    try:
        parsed = parse_csv(text)
    except BadRequest as error:
        assert "Line " in error.message  # noqa: PT017
    else:
        rows = parsed if isinstance(parsed[0], list) else [parsed]
        assert len({len(row) for row in rows}) == 1


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("predict", "PredictRequest"),
        ("classify", "ClassificationRequest"),
        ("regress", "RegressionRequest"),
        ("multi_inference", "MultiInferenceRequest"),
    ],
)
def test_protobuf_is_the_signature_s_request(method: str, kind: str) -> None:
    assert type(default_input_fn(b"", "application/octet-stream", Signature(1, method, {}))).__name__ == kind


def test_a_request_is_sent_as_it_is_without_a_signature() -> None:
    for request in (predict_pb2.PredictRequest(), inference_pb2.MultiInferenceRequest()):
        assert to_request(request, lambda: pytest.fail("asked for")) is request


def test_a_value_without_a_name_goes_to_the_only_input_or_to_inputs() -> None:
    assert list(to_request([1, 2], signature).inputs) == ["x"]
    assert list(to_request([1, 2], lambda: signature(other=SCALAR, inputs=SCALAR)).inputs) == ["inputs"]
    with pytest.raises(BadRequest, match="'a', 'b'"):
        to_request([1, 2], lambda: signature(a=SCALAR, b=SCALAR))


def test_each_input_has_its_own_dtype() -> None:
    inputs = {"a": SCALAR, "b": TensorInfo(types_pb2.DT_STRING, None), "c": TensorInfo(types_pb2.DT_INT8, ())}
    request = to_request({"a": [1, 2], "b": "text", "c": np.float64(3)}, lambda: signature(**inputs))
    assert {name: tensor.dtype for name, tensor in request.inputs.items()} == {"a": 1, "b": 7, "c": 6}


def test_a_signature_that_no_plain_value_suits() -> None:
    with pytest.raises(BadRequest, match="'detect'"):
        to_request([1], lambda: Signature(1, "detect", {}))
    with pytest.raises(BadRequest, match=r"tf\.Examples"):
        to_request(tensor_pb2.TensorProto(), lambda: Signature(1, "classify", {}))


def features(value: Any) -> list[Any]:
    return [
        {
            name: (feature.WhichOneof("kind"), list(getattr(feature, feature.WhichOneof("kind") or "").value))
            if feature.WhichOneof("kind")
            else None
            for name, feature in example.features.feature.items()
        }
        for example in examples(value)
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": 1, "b": "ü"}, [{"a": ("int64_list", [1]), "b": ("bytes_list", ["ü".encode()])}]),
        ({"b": [b"\xff", "x"], "c": [1, 0.5]}, [{"b": ("bytes_list", [b"\xff", b"x"]), "c": ("float_list", [1, 0.5])}]),
        ({"a": True}, [{"a": ("int64_list", [1])}]),
        ({"a": [[1, 2], [3, 4]]}, [{"a": ("int64_list", [1, 2, 3, 4])}]),
        ({"a": []}, [{"a": None}]),
        ({}, [{}]),
        ([{"a": 1}, {"a": 2}], [{"a": ("int64_list", [1])}, {"a": ("int64_list", [2])}]),
        ([1, 2], [{"inputs": ("int64_list", [1, 2])}]),
        (0.5, [{"inputs": ("float_list", [0.5])}]),
        ("x", [{"inputs": ("bytes_list", [b"x"])}]),
        ([[0.5, 1], [2, 3.0]], [{"inputs": ("float_list", [0.5, 1])}, {"inputs": ("float_list", [2, 3])}]),
        (np.ones((2, 1), np.float32), [{"inputs": ("float_list", [1])}] * 2),
        ({"a": np.int16(3), "b": np.array(["x"])}, [{"a": ("int64_list", [3]), "b": ("bytes_list", [b"x"])}]),
    ],
)  # fmt: skip
def test_examples(value: Any, expected: list[Any]) -> None:
    assert features(value) == expected


@pytest.mark.parametrize("value", [{"a": [1, "x"]}, {"a": None}, {"a": 2**70}, {"a": {"b": 1}}, {1: 2}, None])
def test_values_that_are_no_features(value: dict[Any, Any] | dict[str, Any] | None) -> None:
    with pytest.raises(BadRequest):
        examples(value)


@given(JSON_VALUES, st.sampled_from(["predict", "classify", "regress"]))
def test_any_json_value_is_a_request_or_a_400(value: Any, method: str) -> None:
    try:
        to_request(value, lambda: Signature(1, method, {"x": SCALAR}))
    except HttpError as error:
        assert error.status in (400, 412)  # noqa: PT017
