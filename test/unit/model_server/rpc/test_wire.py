"""What is written by hand is what the message classes read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2

from tfsd.model_server.errors import Code, ServingError
from tfsd.model_server.rpc import wire
from tfsd.model_server.runtime import tensors


@given(st.dictionaries(st.text(max_size=200), st.lists(st.floats(width=32, allow_nan=False), max_size=100)))
def test_a_prediction(outputs: dict[str, list[float]]) -> None:
    spec = model_pb2.ModelSpec(name="m", signature_name="s")
    encoded = {
        alias: tensors.encode(np.array(values, np.float32), False, types_pb2.DT_FLOAT)
        for alias, values in outputs.items()
    }

    response = predict_pb2.PredictResponse.FromString(
        wire.predict_response(encoded, spec.SerializeToString())
    )

    assert response.model_spec == spec
    assert {alias: list(tensor.float_val) for alias, tensor in response.outputs.items()} == outputs
    for alias, tensor in response.outputs.items():
        assert tensor == tensor_pb2.TensorProto.FromString(b"".join(encoded[alias]))
        assert [dim.size for dim in tensor.tensor_shape.dim] == [len(outputs[alias])]


@pytest.mark.parametrize("more", [0, 1])
def test_how_large_a_response_may_be(monkeypatch: pytest.MonkeyPatch, more: int) -> None:
    tensor = {"y": [b"\x08\x01"]}
    monkeypatch.setattr(wire, "MAX_MESSAGE", len(wire.predict_response(tensor, b"")) - more)
    if not more:
        assert wire.predict_response(tensor, b"")
        return
    with pytest.raises(ServingError, match="larger than 2 GiB") as refused:
        wire.predict_response(tensor, b"")
    assert refused.value.code is Code.INTERNAL
