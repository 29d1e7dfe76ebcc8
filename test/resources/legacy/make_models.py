"""Builds the models of the legacy endpoint's tests, with signatures as TensorFlow 1's estimators export them.

usage: python make_models.py DIRECTORY

    iris/export/Servo/1     classify: tf.Examples with the feature `inputs` (four floats), three classes;
                            a logistic regression trained on scikit-learn's iris data
    line/1                  regress: tf.Examples with `x` (one float) and `name` (text), y = 2 x + 0.5
    blend/1                 predict with several inputs of different dtypes and two outputs
    scale/1                 predict with one input, [batch, 4] float, and one output, twice that
    scale/2                 the same with three times that
    echo/1                  predict: one input of any shape, given back
    words/1                 predict: text in, text and a `!` out
    nameless/1              no `serving_default`
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

v1 = tf.compat.v1
F32, F64, I32, I64, STR = tf.float32, tf.float64, tf.int32, tf.int64, tf.string
Tensors = dict[str, Any]


def save(
    path: Path, method: str, build: Callable[[], tuple[Tensors, Tensors]], name: str = "serving_default"
) -> None:
    """Export one signature. `build` makes the graph and returns the inputs and outputs."""
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        inputs, outputs = build()
        session.run(v1.global_variables_initializer())
        info = v1.saved_model.utils.build_tensor_info
        signature = v1.saved_model.signature_def_utils.build_signature_def(
            {key: info(value) for key, value in inputs.items()},
            {key: info(value) for key, value in outputs.items()},
            f"tensorflow/serving/{method}",
        )
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], {name: signature})
        builder.save()


def iris() -> tuple[Tensors, Tensors]:
    data = load_iris()
    trained = LogisticRegression(max_iter=1000).fit(data.data, data.target)
    serialized = v1.placeholder(STR, [None], name="tf_example")
    features = v1.parse_example(serialized, {"inputs": tf.io.FixedLenFeature([4], F32)})
    weights = v1.get_variable("weights", initializer=trained.coef_.T.astype(np.float32))
    bias = v1.get_variable("bias", initializer=trained.intercept_.astype(np.float32))
    scores = tf.nn.softmax(features["inputs"] @ weights + bias)
    classes = tf.tile(tf.constant([[b"0", b"1", b"2"]]), [tf.shape(scores)[0], 1])
    return {"inputs": serialized}, {"classes": classes, "scores": scores}


def line() -> tuple[Tensors, Tensors]:
    serialized = v1.placeholder(STR, [None], name="tf_example")
    parsed = {
        "x": tf.io.FixedLenFeature([1], F32),
        "name": tf.io.FixedLenFeature([1], STR, default_value=[""]),
        "steps": tf.io.FixedLenFeature([1], I64, default_value=[0]),
    }
    features = v1.parse_example(serialized, parsed)
    longer = tf.cast(tf.strings.length(features["name"]), F32) + tf.cast(features["steps"], F32)
    return {"inputs": serialized}, {"outputs": 2.0 * features["x"] + 0.5 + 100.0 * longer}


def blend() -> tuple[Tensors, Tensors]:
    count = v1.placeholder(I64, [None], name="count")
    rate = v1.placeholder(F32, [None, 2], name="rate")
    flag = v1.placeholder(tf.bool, [], name="flag")
    total = tf.cast(count, F32) + tf.reduce_sum(rate, 1)
    return (
        {"count": count, "rate": rate, "flag": flag},
        {"total": tf.where(flag, total, -total), "count_again": tf.identity(count)},
    )


def scale(factor: float) -> Callable[[], tuple[Tensors, Tensors]]:
    def build() -> tuple[Tensors, Tensors]:
        x = v1.placeholder(F32, [None, 4], name="x")
        return {"x": x}, {"y": x * factor}

    return build


def echo() -> tuple[Tensors, Tensors]:
    x = v1.placeholder(F32, None, name="x")
    return {"x": x}, {"y": tf.identity(x)}


def words() -> tuple[Tensors, Tensors]:
    text = v1.placeholder(STR, [None], name="text")
    return {"text": text}, {"loud": tf.strings.join([text, "!"])}


def main(directory: Path) -> None:
    save(directory / "iris" / "export" / "Servo" / "1", "classify", iris)
    save(directory / "line" / "1", "regress", line)
    save(directory / "blend" / "1", "predict", blend)
    for version, factor in ((1, 2.0), (2, 3.0)):
        save(directory / "scale" / str(version), "predict", scale(factor))
    save(directory / "echo" / "1", "predict", echo)
    save(directory / "words" / "1", "predict", words)
    save(directory / "nameless" / "1", "predict", scale(2.0), name="other")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
