"""A handler with one gRPC call that sends a tensor of 1 MB and has one of 1 MB back."""

import json

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

CONTENT = np.linspace(0, 1, 250_000, dtype=np.float32).tobytes()


def handler(data, context):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = context.model_name
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=CONTENT)
    tensor.tensor_shape.dim.add(size=250_000)
    request.inputs["x"].CopyFrom(tensor)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(context.channel)
    response = stub.Predict(request, timeout=context.timeout, metadata=[("answer", "tensor")])
    values = np.frombuffer(response.outputs["y"].tensor_content, np.float32)
    return json.dumps({"last": float(values[-1])}), "application/json"
