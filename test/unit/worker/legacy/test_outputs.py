"""Responses in the forms of the default output_fn."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow_serving.apis import classification_pb2, predict_pb2, regression_pb2

from tfsd.worker.conversion.accept import NotAcceptable
from tfsd.worker.legacy.outputs import default_output_fn, to_csv


def response(**outputs: Any) -> Any:
    made = predict_pb2.PredictResponse()
    for name, value in outputs.items():
        made.outputs[name].CopyFrom(tf.make_tensor_proto(value))
    return made


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("text/csv, application/json", "text/csv"),
        ("application/x-npy, */*;q=0.1", "application/json"),
        ("application/octet-stream;q=0.5, text/*;q=0.4", "application/octet-stream"),
    ],
)
def test_accept(accept: str, content_type: str) -> None:
    assert default_output_fn(response(y=[1.0]), accept)[1] == content_type


@pytest.mark.parametrize("accept", ["image/png", "application/x-npy, text/html", "application/json;q=0"])
def test_nothing_acceptable(accept: str) -> None:
    with pytest.raises(NotAcceptable) as raised:
        default_output_fn(response(y=[1.0]), accept)
    assert raised.value.status == 406


def test_json_is_protobuf_s_mapping() -> None:
    body, _ = default_output_fn(response(probabilities=np.array([[0.1, 0.2, 0.7]], "f")), "application/json")
    tensor = json.loads(body)["outputs"]["probabilities"]
    assert tensor["dtype"] == "DT_FLOAT"
    assert tensor["tensorShape"] == {"dim": [{"size": "1"}, {"size": "3"}]}


def test_zeros_of_classes_and_regressions_are_written() -> None:
    classification = classification_pb2.ClassificationResponse()
    classification.result.classifications.add().classes.add(label="0")
    body, _ = default_output_fn(classification, "application/json")
    assert json.loads(body)["result"] == {"classifications": [{"classes": [{"label": "0", "score": 0.0}]}]}


@given(arrays.arrays(np.float32, arrays.array_shapes(min_dims=1, max_dims=3, max_side=3)))
def test_csv_has_a_row_for_each_element_of_the_first_dimension(array: Any) -> None:
    rows = list(csv.reader(io.StringIO(to_csv(response(y=array)).decode())))
    np.testing.assert_array_equal(np.array(rows, np.float32).reshape(array.shape), array)


@given(st.lists(st.binary(min_size=1, max_size=4), min_size=1, max_size=4))
def test_csv_keeps_text_as_it_is(values: list[Any]) -> None:
    text = to_csv(response(y=values)).decode(errors="surrogateescape")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert [row[0].encode(errors="surrogateescape") for row in rows] == values


def test_csv_of_a_regression_and_of_what_has_none() -> None:
    regression = regression_pb2.RegressionResponse()
    regression.result.regressions.add(value=2.5)
    assert to_csv(regression) == b"2.5\n"
    for message in (response(a=1, b=2), classification_pb2.ClassificationResponse(), response()):
        with pytest.raises(NotAcceptable):
            to_csv(message)
