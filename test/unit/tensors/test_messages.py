"""Messages in pieces, against protobuf's own reading and writing."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2

from tfsd.tensors import messages, values
from tfsd.tensors.dtypes import DT_BFLOAT16, DT_FLOAT, DT_STRING, DTYPES
from tfsd.tensors.messages import BadMessage
from tfsd.tensors.values import NoArray

SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=200)


def an_array(number: int) -> Any:
    if number == DT_STRING:
        return arrays.arrays(np.object_, SHAPES, elements=st.binary(max_size=4))
    if number == DT_BFLOAT16:
        return arrays.arrays(np.float32, SHAPES, elements=st.sampled_from([0.0, 1.0, -2.5]))
    return arrays.arrays(np.dtype(DTYPES[number].numpy), SHAPES)


TENSORS = st.sampled_from(list(DTYPES)).flatmap(lambda number: st.tuples(an_array(number), st.just(number)))


@given(st.dictionaries(NAMES, TENSORS, max_size=3))
def test_a_request_is_what_protobuf_reads(inputs: dict[str, tuple[Any, int]]) -> None:
    spec = model_pb2.ModelSpec(name="half", signature_name="other")
    request = predict_pb2.PredictRequest.FromString(b"".join(messages.predict_request(spec, inputs)))
    assert request.model_spec == spec
    assert request.inputs.keys() == inputs.keys()
    for name, (array, number) in inputs.items():
        assert request.inputs[name].dtype == number
        np.testing.assert_array_equal(values.to_array(request.inputs[name]), array)


def test_a_request_has_the_arrays_own_memory() -> None:
    array = np.zeros(100, np.float32)
    pieces = messages.predict_request(model_pb2.ModelSpec(), {"x": (array, DT_FLOAT)})
    array[99] = 7
    assert b"".join(pieces).endswith(np.float32(7).tobytes())


def in_field(array: Any, number: int) -> Any:
    """A TensorProto as tensorflow_model_server writes it: values in their field."""
    tensor = values.head(array.shape, number)
    if number == DT_STRING:
        tensor.string_val.extend(array.ravel())
    else:
        own = tf.make_tensor_proto(array, DTYPES[number].name.removeprefix("DT_").lower())
        tensor = own if array.size <= 1 else tensor
        if array.size > 1:
            getattr(tensor, DTYPES[number].field).extend(array.ravel().tolist())
    return tensor


@given(st.dictionaries(NAMES, TENSORS, max_size=3))
def test_a_response_is_what_protobuf_writes(outputs: dict[str, tuple[Any, int]]) -> None:
    response = predict_pb2.PredictResponse(model_spec=model_pb2.ModelSpec(name="half"))
    for name, (array, number) in outputs.items():
        response.outputs[name].CopyFrom(values.to_tensor(array, number))
    found, spec = messages.predict_response(response.SerializeToString())
    assert spec == response.model_spec
    assert found.keys() == outputs.keys()
    for name, (array, _) in outputs.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 9, 10, 22], ids=lambda number: DTYPES[number].name)
def test_values_in_their_field(number: int) -> None:
    array = np.array([[0, 1], [1, 1]], DTYPES[number].numpy)
    response = predict_pb2.PredictResponse()
    response.outputs["y"].CopyFrom(in_field(array, number))
    found, _ = messages.predict_response(response.SerializeToString())
    np.testing.assert_array_equal(found["y"], array)
    assert found["y"].dtype == array.dtype


def test_values_in_their_field_are_not_copied() -> None:
    response = predict_pb2.PredictResponse()
    response.outputs["y"].CopyFrom(in_field(np.arange(6, dtype=np.float32).reshape(2, 3), DT_FLOAT))
    message = response.SerializeToString()
    found, _ = messages.predict_response(message)
    assert not found["y"].flags.owndata
    assert not found["y"].flags.writeable


def test_the_last_value_stands_for_the_rest() -> None:
    response = predict_pb2.PredictResponse()
    response.outputs["y"].CopyFrom(tensor_pb2.TensorProto(dtype="DT_FLOAT", float_val=[7]))
    response.outputs["y"].tensor_shape.dim.add(size=3)
    found, _ = messages.predict_response(response.SerializeToString())
    assert found["y"].tolist() == [7, 7, 7]


def test_values_in_two_runs() -> None:
    """A packed field may come in several parts, of which protobuf makes one."""
    tensor = tensor_pb2.TensorProto(dtype="DT_FLOAT", float_val=[1, 2]).SerializeToString()
    tensor += tensor_pb2.TensorProto(float_val=[3]).SerializeToString()
    shape = tensor_pb2.TensorProto()
    shape.tensor_shape.dim.add(size=3)
    response = predict_pb2.PredictResponse()
    response.outputs["y"].MergeFromString(tensor + shape.SerializeToString())
    entry = (
        b"\x0a\x01y\x12"
        + bytes([len(tensor) + len(shape.SerializeToString())])
        + tensor
        + shape.SerializeToString()
    )
    found, _ = messages.predict_response(b"\x0a" + bytes([len(entry)]) + entry)
    assert found["y"].tolist() == [1, 2, 3]


def test_an_output_without_a_counterpart_is_named() -> None:
    response = predict_pb2.PredictResponse()
    response.outputs["y"].dtype = 21
    with pytest.raises(NoArray, match="'y': DT_VARIANT"):
        messages.predict_response(response.SerializeToString())


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(message: bytes) -> None:
    with contextlib.suppress(BadMessage, NoArray):
        messages.predict_response(message)


@given(TENSORS, st.data())
def test_a_damaged_response(tensor: tuple[Any, int], data: Any) -> None:
    response = predict_pb2.PredictResponse()
    response.outputs["y"].CopyFrom(values.to_tensor(*tensor))
    message = bytearray(response.SerializeToString())
    message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadMessage, NoArray):
        messages.predict_response(bytes(message))


@pytest.mark.parametrize("size", [-1, 1 << 40])
def test_a_shape_that_no_values_have(size: int) -> None:
    response = predict_pb2.PredictResponse()
    response.outputs["y"].CopyFrom(tensor_pb2.TensorProto(dtype="DT_FLOAT", float_val=[7]))
    response.outputs["y"].tensor_shape.dim.add(size=size)
    with pytest.raises(NoArray, match="1 values are no tensor of shape"):
        messages.predict_response(response.SerializeToString())
