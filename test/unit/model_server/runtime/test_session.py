"""Signatures on a Session: what the graph says counts, not what a signature declares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import inference_pb2

from tfsd.model_server.errors import ServingError
from tfsd.model_server.metrics import Metrics
from tfsd.model_server.runtime import inference
from tfsd.model_server.runtime.session import SessionServable


def signature(inputs: dict[str, tuple[str, int]], outputs: dict[str, tuple[str, int]]) -> Any:
    """A signature of (tensor name, declared dtype) by alias."""
    definition = meta_graph_pb2.SignatureDef()
    for infos, given in ((definition.inputs, inputs), (definition.outputs, outputs)):
        for alias, (name, dtype) in given.items():
            infos[alias].name, infos[alias].dtype = name, dtype
    return definition


@pytest.fixture(scope="module")
def servable() -> Iterator[SessionServable]:
    """Two signatures on examples, each with a placeholder of its own as TensorFlow 2 makes them; the length of an
    example is its result. The first and the last declare their inputs to be what they are not."""
    with tf.Graph().as_default() as graph:
        for name in ("first", "second"):
            examples = tf.compat.v1.placeholder(tf.string, [None], f"{name}_inputs")
            size = tf.cast(tf.strings.length(examples), tf.float32)
            tf.identity(size, f"{name}_outputs")
            tf.expand_dims(size, 1, name=f"{name}_scores")
        number = tf.compat.v1.placeholder(tf.float32, [None], "number")
        tf.identity(number, "same")
        tf.cast(number, tf.quint8, name="quantized")
    declared = {
        "first": signature(
            {"inputs": ("first_inputs:0", types_pb2.DT_FLOAT)},
            {"outputs": ("first_outputs:0", types_pb2.DT_FLOAT)},
        ),
        "second": signature(
            {"inputs": ("second_inputs:0", types_pb2.DT_STRING)},
            {"scores": ("second_scores:0", types_pb2.DT_FLOAT)},
        ),
        "numbers": signature(
            {"x": ("number:0", types_pb2.DT_FLOAT)},
            dict.fromkeys(("d", "b", "e", "a", "c"), ("same:0", types_pb2.DT_FLOAT))
            | {"y": ("quantized:0", types_pb2.DT_STRING)},
        ),
        "last": signature(
            {"inputs": ("second_inputs:0", types_pb2.DT_FLOAT)},
            {"scores": ("second_scores:0", types_pb2.DT_FLOAT)},
        ),
    }
    one = SessionServable("m", 1, tf.compat.v1.Session(graph=graph), declared, Metrics())
    yield one
    one.close()


def test_a_declared_type_that_is_not_the_graphs_does_not_matter(servable: SessionServable) -> None:
    assert inference.regress(servable, "first", [b"ab", b"abc"]) == [2.0, 3.0]
    assert inference.classify(servable, "last", [b"ab", b"abc"]) == [[(b"", 2.0)], [(b"", 3.0)]]
    assert servable.output_dtypes("numbers")["y"] == types_pb2.DT_QUINT8


def test_outputs_are_in_alphabetical_order(servable: SessionServable) -> None:
    assert list(servable.run("numbers", {"x": np.ones(1, np.float32)})) == ["a", "b", "c", "d", "e", "y"]


def test_what_the_graph_does_not_take_is_refused(servable: SessionServable) -> None:
    with pytest.raises(ServingError, match=r"Expects arg\[0\] to be float but string is provided"):
        servable.run("numbers", {"x": np.array([b"a"], object)})
    with pytest.raises(ServingError, match=r"Expects arg\[0\] to be string but float is provided"):
        servable.run("first", {"inputs": np.zeros(1, np.float32)})


def test_signatures_of_one_request_may_have_different_inputs(servable: SessionServable) -> None:
    request = inference_pb2.MultiInferenceRequest()
    for name, method in (("first", inference.REGRESS), ("second", inference.CLASSIFY)):
        task = request.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = "m", name
    example = request.input.example_list.examples.add()
    example.features.feature["x"].float_list.value.append(1.0)

    size = float(example.ByteSize())
    assert inference.multi_inference(servable, request) == [("first", [size]), ("second", [[(b"", size)]])]
