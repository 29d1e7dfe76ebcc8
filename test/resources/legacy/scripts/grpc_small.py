"""A handler with one gRPC call: the instances in JSON go to the model's input, its output comes back."""

import json

from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def handler(data, context):
    values = json.loads(data.read())["instances"]
    request = predict_pb2.PredictRequest()
    request.model_spec.name = context.model_name
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=values)
    tensor.tensor_shape.dim.add(size=len(values))
    request.inputs["x"].CopyFrom(tensor)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(context.channel)
    response = stub.Predict(request, timeout=context.timeout)
    return json.dumps({"predictions": list(response.outputs["y"].float_val)}), "application/json"
