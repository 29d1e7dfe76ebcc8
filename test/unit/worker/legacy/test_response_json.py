"""A PredictResponse is written as protobuf's own json_format writes it."""

from __future__ import annotations

import math

import pytest
from google.protobuf import json_format
from hypothesis import example, given
from hypothesis import strategies as st

from tfsd.protos import packages

packages.install()

from tensorflow.core.framework import tensor_pb2, types_pb2  # noqa: E402
from tensorflow_serving.apis import predict_pb2  # noqa: E402

from tfsd.worker.legacy.response_json import predict_response  # noqa: E402

FLOATS = st.lists(st.floats(width=32))
INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES = st.one_of(
    st.fixed_dictionaries({"dtype": st.just(types_pb2.DT_FLOAT), "float_val": FLOATS}),
    st.fixed_dictionaries({"dtype": st.just(types_pb2.DT_INT64), "int64_val": st.lists(INT64)}),
    st.fixed_dictionaries(
        {"dtype": st.just(types_pb2.DT_INT32), "int_val": st.lists(st.integers(-(2**31), 2**31 - 1))}
    ),
    st.fixed_dictionaries({"dtype": st.just(types_pb2.DT_BOOL), "bool_val": st.lists(st.booleans())}),
    st.fixed_dictionaries({"dtype": st.just(types_pb2.DT_DOUBLE), "double_val": st.lists(st.floats())}),
    st.fixed_dictionaries({"dtype": st.just(types_pb2.DT_STRING), "string_val": st.lists(st.binary())}),
    st.fixed_dictionaries({"dtype": st.integers(0, 200), "tensor_content": st.binary()}),
    st.fixed_dictionaries({"version_number": st.integers(0, 9)}),
)


@st.composite
def tensors(draw: st.DrawFn) -> tensor_pb2.TensorProto:
    tensor = tensor_pb2.TensorProto(**draw(VALUES))
    for size in draw(st.lists(st.integers(-1, 5), max_size=3)):
        tensor.tensor_shape.dim.add(size=size, name=draw(st.sampled_from(["", "", "rows"])))
    if draw(st.booleans()):
        tensor.tensor_shape.unknown_rank = draw(st.booleans())
    return tensor


@st.composite
def responses(draw: st.DrawFn) -> predict_pb2.PredictResponse:
    response = predict_pb2.PredictResponse()
    for name in draw(st.lists(st.text(max_size=5), max_size=3, unique=True)):
        response.outputs[name].CopyFrom(draw(tensors()))
    if draw(st.booleans()):
        response.model_spec.SetInParent()
        response.model_spec.name = draw(st.sampled_from(["", "rows", "größer"]))
        response.model_spec.signature_name = draw(st.sampled_from(["", "serving_default"]))
    if draw(st.booleans()):
        response.model_spec.version.value = draw(INT64)
    elif draw(st.booleans()):
        response.model_spec.version_label = draw(st.sampled_from(["", "stable"]))
    return response


def by_reflection(response: predict_pb2.PredictResponse) -> bytes:
    return json_format.MessageToJson(response, indent=None, ensure_ascii=False).encode()


@given(responses())
def test_it_is_json_formats_to_the_byte(response: predict_pb2.PredictResponse) -> None:
    assert predict_response(response) == by_reflection(response)


@given(FLOATS)
@example([0.1, 1 / 3, 2.5, 16777216.0, 3.4028234663852886e38, 1.1754943508222875e-38])
@example([-0.0, 0.0, 1e-05, 1e16])
@example([1.401298464324817e-45])
@example([math.nan, math.inf, -math.inf])
@example([value / 7 for value in range(100)])
@example([-1e-40, *[1.0] * 100])
@example([*[1.0] * 100, math.nan])
def test_floats_have_json_formats_digits(values: list[float]) -> None:
    response = predict_pb2.PredictResponse()
    response.outputs["y"].float_val.extend(values)
    assert predict_response(response) == by_reflection(response)


@pytest.mark.parametrize("number", [0, 1, 9999], ids=["none", "float", "unknown"])
def test_a_dtype_has_its_name(number: int) -> None:
    response = predict_pb2.PredictResponse()
    response.outputs["y"].dtype = number
    assert predict_response(response) == by_reflection(response)
