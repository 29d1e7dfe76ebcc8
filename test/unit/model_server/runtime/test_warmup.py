from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import prediction_log_pb2

from tfsd.model_server.errors import Code, ServingError
from tfsd.model_server.runtime import warmup


class Servable:
    """A servable that notes the time limits with which it is run, and cannot keep one."""

    check_method_names = False

    def __init__(self) -> None:
        self.limits: list[int | None] = []

    def signature(self, name: str) -> Any:
        definition = tf.compat.v1.saved_model.signature_def_utils.build_signature_def()
        definition.inputs["x"].dtype = 1
        definition.outputs["y"].dtype = 1
        return definition

    def input_dtypes(self, name: str) -> Any:
        return {"x": types_pb2.DT_FLOAT}

    def run(
        self, name: str, inputs: Any, outputs: Any = None, timeout_ms: int | None = None, api: str = "Predict"
    ) -> Any:
        self.limits.append(timeout_ms)
        if timeout_ms is not None:
            raise ServingError(Code.DEADLINE_EXCEEDED, "too slow")
        return {"y": np.zeros(1, np.float32)}


@pytest.mark.parametrize(("rest", "limits"), [(None, [None, None]), (500, [None, None, 500])])
def test_requests_are_prepared_for_rest_as_well(
    tmp_path: Path, rest: int | None, limits: list[int | None]
) -> None:
    """A limit that warm-up does not keep is no reason not to serve."""
    entry = prediction_log_pb2.PredictionLog()
    entry.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0]))
    (tmp_path / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(tmp_path / warmup.FILE)) as writer:
        writer.write(entry.SerializeToString())
    servable = Servable()
    warmup.replay(servable, str(tmp_path), 2, rest)  # type: ignore[arg-type]
    assert servable.limits == limits


@pytest.mark.parametrize("more", [0, 1])
def test_the_number_of_records_is_limited(tmp_path: Path, more: int) -> None:
    entry = prediction_log_pb2.PredictionLog()
    entry.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0]))
    (tmp_path / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(tmp_path / warmup.FILE)) as writer:
        for _ in range(warmup.MAX_RECORDS + more):
            writer.write(entry.SerializeToString())
    servable = Servable()
    if more:
        with pytest.raises(ServingError, match=r"exceeds the maximum \(1000\)"):
            warmup.replay(servable, str(tmp_path), 1)  # type: ignore[arg-type]
    else:
        warmup.replay(servable, str(tmp_path), 1)  # type: ignore[arg-type]
    assert len(servable.limits) == warmup.MAX_RECORDS
