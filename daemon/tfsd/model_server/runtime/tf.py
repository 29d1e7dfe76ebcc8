"""What serving takes of TensorFlow, from the modules in which it is: the package's public names would import all of it.

Never imports anything for models to be made or trained with.
"""

from __future__ import annotations

from tensorflow.core.protobuf.config_pb2 import ConfigProto
from tensorflow.python.client.session import Session
from tensorflow.python.framework import errors
from tensorflow.python.framework.dtypes import as_dtype, float32, string
from tensorflow.python.framework.load_library import load_op_library
from tensorflow.python.framework.ops import Graph
from tensorflow.python.lib.io.file_io import file_exists_v2 as exists
from tensorflow.python.lib.io.file_io import list_directory_v2 as listdir
from tensorflow.python.lib.io.tf_record import TFRecordWriter, tf_record_iterator

# These know how to read collections of the meta graphs that TensorFlow 1 wrote.
from tensorflow.python.ops import control_flow_ops, ref_variable
from tensorflow.python.platform.gfile import GFile
from tensorflow.python.platform.tf_logging import get_logger
from tensorflow.python.saved_model.loader_impl import load as load_saved_model
from tensorflow.python.training import queue_runner_impl

__all__ = [
    "ConfigProto",
    "GFile",
    "Graph",
    "Session",
    "TFRecordWriter",
    "as_dtype",
    "control_flow_ops",
    "errors",
    "exists",
    "float32",
    "get_logger",
    "listdir",
    "load_op_library",
    "load_saved_model",
    "queue_runner_impl",
    "ref_variable",
    "string",
    "tf_record_iterator",
]
