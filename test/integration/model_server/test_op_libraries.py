"""A model with an op of a library: served when the library is loaded, and else the answer names the flag."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

#: Made with TensorFlow's C interface: the headers of its C++ classes take a compiler half a minute.
OP = r"""
#include "tensorflow/c/kernels.h"
#include "tensorflow/c/ops.h"
#include "tensorflow/c/tf_tensor.h"

static void compute(void*, TF_OpKernelContext* context) {
  TF_Status* status = TF_NewStatus();
  TF_Tensor* x = nullptr;
  TF_GetInput(context, 0, &x, status);
  int64_t count = TF_TensorElementCount(x);
  TF_Tensor* y = TF_AllocateOutput(context, 0, TF_FLOAT, &count, 1, TF_TensorByteSize(x), status);
  for (int64_t i = 0; i < count; i++)
    static_cast<float*>(TF_TensorData(y))[i] = static_cast<float*>(TF_TensorData(x))[i] * 2.0f;
  TF_DeleteTensor(x);
  TF_DeleteTensor(y);
  TF_DeleteStatus(status);
}

__attribute__((constructor)) static void of_a_test() {
  TF_Status* status = TF_NewStatus();
  TF_OpDefinitionBuilder* op = TF_NewOpDefinitionBuilder("OfATest");
  TF_OpDefinitionBuilderAddInput(op, "x: float");
  TF_OpDefinitionBuilderAddOutput(op, "y: float");
  TF_RegisterOpDefinition(op, status);
  TF_RegisterKernelBuilder("OfATest", TF_NewKernelBuilder("OfATest", "CPU", nullptr, compute, nullptr), status);
  TF_DeleteStatus(status);
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    directory = tmp_path_factory.mktemp("op")
    (directory / "op.cc").write_text(OP)
    flags = [*tf.sysconfig.get_compile_flags(), *tf.sysconfig.get_link_flags()]
    command = ["g++", "-shared", "-fPIC", "-o", "of_a_test.so", "op.cc", *flags]
    subprocess.run(command, cwd=directory, check=True)
    return directory / "of_a_test.so"


@pytest.fixture(scope="module")
def model(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made in this process, which has the op from now on; model servers are forks of another one."""
    base = tmp_path_factory.mktemp("with_op")
    op = tf.load_op_library(str(library)).of_a_test
    module = tf.Module()
    module.serve = tf.function(lambda x: {"y": op(x=x)}, [tf.TensorSpec([None], tf.float32, "x")])
    signature = module.serve.get_concrete_function()
    tf.saved_model.save(module, str(base / "1"), {"serving_default": signature})
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
