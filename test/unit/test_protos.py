"""TensorFlow's messages with and without TensorFlow, each in an interpreter of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

DAEMON = Path(__file__).parents[2] / "daemon"
HIDDEN = ("tensorflow", "tensorflow_cpu", "keras")
USE = """
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.example.example_pb2 import Example
from tensorflow_serving.apis import (classification_pb2, get_model_metadata_pb2, inference_pb2, input_pb2, logging_pb2,
    model_management_pb2, model_service_pb2_grpc, predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc,
    regression_pb2, session_service_pb2, status_pb2)
request = predict_pb2.PredictRequest()
request.inputs["x"].CopyFrom(tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1.5]))
assert predict_pb2.PredictRequest.FromString(request.SerializeToString()).inputs["x"].float_val == [1.5]
import pickle
assert pickle.loads(pickle.dumps(request)) == request
"""
TENSORFLOW = """
import sys
sys.modules["keras"] = None  # which TensorFlow would import, half of its time
import tensorflow as tf
made = tf.make_tensor_proto([1.5])
assert tf.constant(2).numpy() == 2
"""
TOGETHER = """
assert type(made) is tensor_pb2.TensorProto
request.inputs["y"].CopyFrom(made)
assert tf.make_ndarray(request.inputs["x"]).tolist() == 1.5
import tensorflow.core.framework.tensor_pb2 as again
assert again is tensor_pb2
"""
NAMES = """
import importlib, json
from tfsd.protos.vendored import VendoredFinder
print(json.dumps({name: sorted(n for n in dir(importlib.import_module(name)) if n[0].isupper())
                  for name in VendoredFinder()._files}))
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of this environment without TensorFlow."""
    directory = tmp_path_factory.mktemp("packages")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if path.name.partition("-")[0] not in HIDDEN:
            (directory / path.name).symlink_to(path)
    return directory


def run(code: str, packages: Path | None = None, install: bool = True) -> str:
    """What an interpreter prints; `packages` takes the place of this environment's."""
    prepared = "from tfsd.protos import packages; packages.install()\n" if install else ""
    environ = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": f"{DAEMON}{os.pathsep}{packages or ''}",
    }
    command = [sys.executable, *(["-S"] if packages else []), "-c", prepared + code]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_nothing_is_imported_before_it_is_used() -> None:
    code = "import sys; print([n for n in ('google.protobuf', 'grpc', 'numpy', 'tensorflow') if n in sys.modules])"
    assert run(code) == "[]\n"


def test_messages_do_without_an_installed_tensorflow() -> None:
    assert run(USE + "import sys; print('tensorflow' in sys.modules)") == "False\n"


def test_messages_where_tensorflow_is_not_installed(bare: Path) -> None:
    code = "import importlib.util\ntry: import tensorflow\nexcept ModuleNotFoundError as error: print(error)"
    assert run(USE + code, bare) == "No module named 'tensorflow'\n"


@pytest.mark.parametrize("code", [USE + TENSORFLOW + TOGETHER, TENSORFLOW + USE + TOGETHER])
def test_tensorflow_beside_messages(code: str) -> None:
    run(code)


def test_vendored_modules_have_the_names_of_tensorflow_s(bare: Path) -> None:
    assert json.loads(run(NAMES, bare)) == json.loads(run(NAMES))


def test_the_vendored_set_is_the_installed_tensorflow_s() -> None:
    """`python -m tfsd.protos.make_set` writes it anew."""
    code = "from tfsd.protos import make_set; print(make_set.descriptor_set() == make_set.SET.read_bytes())"
    assert run(code) == "True\n"


def test_a_name_that_is_none() -> None:
    code = (
        "from tensorflow.core import framework\n"
        "print(hasattr(framework, 'no_such_pb2'), hasattr(framework, 'TensorProto'))"
    )
    assert run(code) == "False False\n"


def test_a_tensorflow_of_the_user_s_own_comes_first(tmp_path: Path) -> None:
    own = tmp_path / "lib" / "tensorflow" / "core" / "framework"
    own.mkdir(parents=True)
    (tmp_path / "lib" / "tensorflow" / "__init__.py").touch()
    (own / "tensor_pb2.py").write_text("NAME = 'own'\n")
    code = (
        f"from tfsd.protos import packages; packages.install([{str(tmp_path / 'lib')!r}])\n"
        "from tensorflow.core.framework import tensor_pb2; print(tensor_pb2.NAME)"
    )
    assert run(code, install=False) == "own\n"


def test_the_legacy_endpoint_where_tensorflow_is_not_installed(bare: Path) -> None:
    code = """
from tfsd.worker.legacy import endpoint
from tfsd.worker.legacy.inputs import to_request
from tfsd.worker.prediction_service import Signature, TensorInfo
signature = Signature(1, "predict", {"x": TensorInfo(1, (-1, 2))})
print([dim.size for dim in to_request([1, 2], lambda: signature).inputs["x"].tensor_shape.dim])
"""
    assert run(code, bare) == "[1, 2]\n"
