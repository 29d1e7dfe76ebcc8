"""A model with an op of a library: served when the library is loaded, and else the answer names the flag."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

OP = r"""
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"

REGISTER_OP("OfATest").Input("x: float").Output("y: float");

class OfATest : public tensorflow::OpKernel {
 public:
  explicit OfATest(tensorflow::OpKernelConstruction* construction) : OpKernel(construction) {}
  void Compute(tensorflow::OpKernelContext* context) override {
    const tensorflow::Tensor& x = context->input(0);
    tensorflow::Tensor* y = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &y));
    y->flat<float>() = x.flat<float>() * 2.0f;
  }
};
REGISTER_KERNEL_BUILDER(Name("OfATest").Device(tensorflow::DEVICE_CPU), OfATest);
"""

#: Saves the model in a process of its own, which has the op.
SAVE = """
import sys
import tensorflow as tf
op = tf.load_op_library(sys.argv[1]).of_a_test
module = tf.Module()
module.serve = tf.function(lambda x: {"y": op(x=x)}, [tf.TensorSpec([None], tf.float32, "x")])
tf.saved_model.save(module, sys.argv[2], {"serving_default": module.serve.get_concrete_function()})
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    directory = tmp_path_factory.mktemp("op")
    (directory / "op.cc").write_text(OP)
    flags = [*tf.sysconfig.get_compile_flags(), *tf.sysconfig.get_link_flags()]
    command = ["g++", "-shared", "-fPIC", "-O0", "-w", "-o", "of_a_test.so", "op.cc", *flags]
    subprocess.run(command, cwd=directory, check=True)
    return directory / "of_a_test.so"


@pytest.fixture(scope="module")
def model(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("with_op")
    subprocess.run([sys.executable, "-c", SAVE, str(library), str(base / "1")], check=True)
    return base


def test_a_model_is_served_with_its_library(
    start_server: Callable[..., Any], model: Path, library: Path
) -> None:
    server = start_server(f"--model_base_path={model}", f"--op_libraries={library}", rest=True)

    url = f"http://127.0.0.1:{server.rest_port}/v1/models/default:predict"
    with urllib.request.urlopen(url, b'{"instances": [1.5]}', timeout=30) as response:
        assert json.load(response) == {"predictions": [3.0]}


def test_without_it_the_error_names_the_flag(start_server: Callable[..., Any], model: Path) -> None:
    server = start_server(
        f"--model_base_path={model}", "--start_despite_load_errors", "--max_num_load_retries=0", rest=True
    )

    url = f"http://127.0.0.1:{server.rest_port}/v1/models/default"
    with urllib.request.urlopen(url, timeout=30) as response:
        (version,) = json.load(response)["model_version_status"]
    assert "Op type not registered 'OfATest'" in version["status"]["error_message"]
    assert "SAGEMAKER_TFS_OP_LIBRARIES (--op_libraries)" in version["status"]["error_message"]
