"""Lines of text in, a line of JSON for each out, as soon as it is known: two models, one after the other, over gRPC."""

import json
import struct

from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def handler(data, context):
    words = prediction_service_pb2_grpc.PredictionServiceStub(context.channel_to("words"))
    mood = prediction_service_pb2_grpc.PredictionServiceStub(context.channel_to("mood"))
    lines = data.read().decode().splitlines()
    return answers(lines, words, mood), "application/x-ndjson"


def answers(lines, words, mood):
    """Each line's answer is sent when it is there: the client need not wait for the last one."""
    for line in lines:
        text = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[line.encode()])
        text.tensor_shape.dim.add(size=1)
        counted = words.Predict(request("words", text=text), timeout=10)
        # the tensor goes on as it came: nothing is unpacked in between
        judged = mood.Predict(request("mood", counts=counted.outputs["counts"]), timeout=10)
        yield json.dumps({"text": line, "friendly": round(value(judged.outputs["friendly"]), 2)}) + "\n"


def request(model, **inputs):
    return predict_pb2.PredictRequest(model_spec={"name": model}, inputs=inputs)


def value(tensor):
    """The only number of a tensor, which a model server may write in either of two forms."""
    if tensor.tensor_content:
        return struct.unpack("<f", tensor.tensor_content)[0]
    return tensor.float_val[0]
