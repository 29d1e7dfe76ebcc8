"""Broken SavedModels, and what an operator reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import saved_model_pb2

from tfsd.model_server.errors import Code, ServingError
from tfsd.model_server.metrics import Metrics
from tfsd.model_server.runtime.load_errors import is_truncated, load_error
from tfsd.model_server.runtime.loader import Loader, LoadOptions


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A version with a variable."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], name="x")
        y = x * v1.get_variable("factor", initializer=tf.constant(2.0))
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": x}, {"y": y})
    return tmp_path / "1"


def failure(model: Path) -> ServingError:
    with pytest.raises(ServingError) as error:
        Loader(LoadOptions(), Metrics())("m", 1, str(model))
    return error.value


def test_a_sound_model_loads(model: Path) -> None:
    Loader(LoadOptions(), Metrics())("m", 1, str(model)).close()


def test_a_truncated_graph(model: Path) -> None:
    graph = model / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:100])
    error = failure(model)
    assert (error.code, error.message) == (Code.OUT_OF_RANGE, "Read less bytes than requested")


def test_a_corrupt_graph(model: Path) -> None:
    (model / "saved_model.pb").write_bytes(b"this is no proto")
    error = failure(model)
    assert (error.code, error.message) == (
        Code.DATA_LOSS,
        f"Can't parse {model}/saved_model.pb as binary proto",
    )


def test_an_op_that_is_not_registered(model: Path) -> None:
    graph = model / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(graph.read_bytes())
    (meta_graph,) = saved.meta_graphs
    next(node for node in meta_graph.graph_def.node if node.op == "Mul").op = "NoSuchOpHere"
    graph.write_bytes(saved.SerializeToString())

    error = failure(model)

    assert error.code is Code.NOT_FOUND
    assert error.message.startswith("Op type not registered 'NoSuchOpHere'")
    assert "SAGEMAKER_TFS_OP_LIBRARIES" in error.message


def test_no_graph(model: Path) -> None:
    (model / "saved_model.pb").unlink()
    error = failure(model)
    assert error.code is Code.NOT_FOUND
    assert error.message.startswith(
        f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {model}."
    )


def test_no_variables(model: Path) -> None:
    (model / "variables" / "variables.index").unlink()
    error = failure(model)
    assert error.code is Code.NOT_FOUND
    assert f"{model}/variables/variables.index does not exist" in error.message


def test_truncated_variables_are_told_without_pythons_traceback(model: Path) -> None:
    (model / "variables" / "variables.data-00000-of-00001").write_bytes(b"")
    error = failure(model)
    assert error.code is Code.OUT_OF_RANGE
    assert error.message.startswith("Read less bytes than requested\n\t [[{{node save/RestoreV2")


def test_other_tags(model: Path) -> None:
    with pytest.raises(ServingError, match="meta graph def matching supplied tags"):
        Loader(LoadOptions(tags=("a", "b")), Metrics())("m", 1, str(model))


def test_an_exception_that_nobody_foresaw() -> None:
    assert str(load_error(KeyError("x"), "/m/1", ["serve"])) == "INTERNAL: KeyError: 'x'"


@given(st.lists(st.floats(width=32), min_size=1), st.data())
def test_a_message_that_is_cut_is_truncated_or_shorter(values: list[Any], data: Any) -> None:
    whole = tensor_pb2.TensorProto(float_val=values, string_val=[b"abc"]).SerializeToString()
    assert not is_truncated(whole)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        tensor_pb2.TensorProto.FromString(cut)
    except Exception:
        assert is_truncated(cut)


@given(st.binary())
def test_any_bytes(message: bytes) -> None:
    is_truncated(message)
