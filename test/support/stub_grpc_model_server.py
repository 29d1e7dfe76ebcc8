#!/usr/bin/env python3
"""A model server that answers gRPC at little cost, and fails as it is told; SAGEMAKER_TFS_BINARY names it.

Its REST side is stub_model_server's. Each model is a predict model with one input `x` of any shape, whose output `y` is
what `x` was; but the output of the model `rows` is a number for each element of the first dimension. A request whose
signature is named after a gRPC status is answered with that status, one with the signature `SLEEP` after half a minute.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import grpc
from google.protobuf import any_pb2

from tfsd.protos import packages

packages.install()

from tensorflow.core.framework import types_pb2  # noqa: E402
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2  # noqa: E402

REST = Path(__file__).with_name("stub_model_server.py")
SERVICE = "/tensorflow.serving.PredictionService/"
SLEEP_SECONDS = 30


def metadata() -> bytes:
    definitions = get_model_metadata_pb2.SignatureDefMap()
    definition = definitions.signature_def["serving_default"]
    definition.method_name = "tensorflow/serving/predict"
    definition.inputs["x"].dtype = types_pb2.DT_FLOAT
    definition.inputs["x"].tensor_shape.unknown_rank = True
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.version.value = 1
    packed = any_pb2.Any()
    packed.Pack(definitions)
    response.metadata["signature_def"].CopyFrom(packed)
    return response.SerializeToString()


async def predict(serialized: bytes, context: grpc.aio.ServicerContext) -> bytes:
    request = predict_pb2.PredictRequest.FromString(serialized)
    wish = request.model_spec.signature_name
    if wish == "SLEEP":
        await asyncio.sleep(SLEEP_SECONDS)
    elif wish:
        await context.abort(grpc.StatusCode[wish], f"as you wish: {wish}")
    response = predict_pb2.PredictResponse()
    if request.model_spec.name == "rows":
        rows = request.inputs["x"].tensor_shape.dim[0].size
        response.outputs["y"].dtype = types_pb2.DT_FLOAT
        response.outputs["y"].tensor_shape.dim.add(size=rows)
        response.outputs["y"].float_val.extend([0.5] * rows)
    else:
        response.outputs["y"].CopyFrom(request.inputs["x"])
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = 1
    return response.SerializeToString()


class Handlers(grpc.GenericRpcHandler):
    def __init__(self) -> None:
        self._metadata = metadata()

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        known = {SERVICE + "Predict": predict, SERVICE + "GetModelMetadata": self._describe}
        handler = known.get(call.method)
        return handler and grpc.unary_unary_rpc_method_handler(handler)

    async def _describe(self, _request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        return self._metadata


async def serve(addresses: list[str]) -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((Handlers(),))
    for address in addresses:
        server.add_insecure_port(address)
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


def main() -> None:
    flags = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:] if "=" in word)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # until the event loop waits for it
    addresses = [f"127.0.0.1:{flags['port']}"] if flags["port"] != "0" else []
    if "grpc_socket_path" in flags:
        addresses.append(f"unix:{flags['grpc_socket_path']}")
    rest = subprocess.Popen([sys.executable, REST, f"--rest_api_port={flags['rest_api_port']}"])
    try:
        asyncio.run(serve(addresses))
    finally:
        rest.terminate()
        rest.wait()


if __name__ == "__main__":
    main()
