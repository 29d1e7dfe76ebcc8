"""A handler that speaks gRPC to the model server: what it does stands in the request's JSON."""

import json
import time

import grpc
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def request_for(context, count):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = context.model_name
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=b"\0\0\x80?" * count)
    tensor.tensor_shape.dim.add(size=count)
    request.inputs["x"].CopyFrom(tensor)
    return request


def handler(data, context):
    wish = json.loads(data.read() or b"{}")
    if wish.get("idle"):
        return {"idle": True}
    if wish.get("own_channel"):
        with grpc.insecure_channel(f"localhost:{context.grpc_uri}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            response = stub.Predict(request_for(context, 1), timeout=context.timeout)
            return {"sum": sum(response.outputs["y"].float_val)}
    stub = prediction_service_pb2_grpc.PredictionServiceStub(context.channel)
    request = request_for(context, wish.get("count", 1))
    request.model_spec.signature_name = wish.get("signature", "")
    started = time.monotonic()
    response = stub.Predict(request)
    return {
        "bytes": [request.ByteSize(), response.ByteSize()],
        "first": list(response.outputs["y"].float_val[:2]),
        "seconds": time.monotonic() - started,
        "channel": id(context.channel),
        "ports": [context.grpc_uri, context.grpc_port],
    }
