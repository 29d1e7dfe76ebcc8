"""The default output_fn; the body is a Python expression for what input_fn returns."""

import numpy as np
from tensorflow.core.example import example_pb2
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from tensorflow_serving.apis import classification_pb2, inference_pb2, predict_pb2, regression_pb2

NAMES = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        classification_pb2,
        example_pb2,
        inference_pb2,
        np,
        predict_pb2,
        regression_pb2,
        tensor_pb2,
        tensor_shape_pb2,
        types_pb2,
    )
}


def SHAPE(*sizes):
    dims = [tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in sizes]
    return tensor_shape_pb2.TensorShapeProto(dim=dims)


def input_fn(serialized_input, content_type):
    text = serialized_input if isinstance(serialized_input, str) else serialized_input.decode()
    return eval(text, {**NAMES, "SHAPE": SHAPE})
