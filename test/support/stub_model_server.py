#!/usr/bin/env python3
"""A model server that answers at once and at next to no cost: nginx with fixed answers behind its flags.

For measurements of everything around a model server; SAGEMAKER_TFS_BINARY names it. Any model it is asked for
is AVAILABLE in version 1, and every prediction is the same: three numbers, or, by gRPC with the metadata
`answer: tensor`, a tensor of 1 MB. Its frames are as large as those of gRPC's own servers.
"""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tfsd.stack import nginx

LOOK_SECONDS = 0.05  # how soon it is seen that nginx has to end, or has ended
CONFIGURATION = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr error;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_max_body_size 0;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        default_type application/json;
        location ~ :predict$ {{ return 200 '{{"predictions": [2.5, 3.0, 4.5]}}'; }}
        location / {{
            return 200 '{{"model_version_status": [{{"version": "1", "state": "AVAILABLE",
                        "status": {{"error_code": "OK", "error_message": ""}}}}]}}';
        }}
    }}
    {grpc}
}}
"""
GRPC = """
    map $http_answer $answer {{ default numbers; tensor tensor; }}
    server {{
        {listen}
        root {directory};
        default_type application/grpc;
        types {{ }}
        etag off;
        open_file_cache max=8;
        client_body_buffer_size 16m;
        http2_chunk_size 1m;
        output_buffers 1 2m;
        mirror /read;  # which has a request's body read before it is answered
        location = /tensorflow.serving.PredictionService/Predict {{
            alias {directory}/$answer;
            error_page 405 =200 /$answer;  # nothing can be posted to a file, and it is the answer all the same
        }}
        location = /tensorflow.serving.PredictionService/GetModelMetadata {{
            alias {directory}/metadata;
            error_page 405 =200 /metadata;
        }}
        location = /read {{ internal; return 204; }}
        location / {{
            internal;
            mirror off;
            add_trailer grpc-status 0;
        }}
    }}
"""
TENSOR_NUMBERS = 250_000


def answers() -> dict[str, bytes]:
    """The messages of gRPC's answers by the names of their files."""
    from tfsd.protos import packages

    packages.install()
    from google.protobuf import any_pb2
    from tensorflow.core.framework import types_pb2
    from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

    numbers = predict_pb2.PredictResponse()
    numbers.model_spec.version.value = 1
    numbers.outputs["y"].dtype = types_pb2.DT_FLOAT
    tensor = predict_pb2.PredictResponse()
    tensor.CopyFrom(numbers)
    numbers.outputs["y"].tensor_shape.dim.add(size=3)
    numbers.outputs["y"].float_val.extend([2.5, 3.0, 4.5])
    tensor.outputs["y"].tensor_shape.dim.add(size=TENSOR_NUMBERS)
    tensor.outputs["y"].tensor_content = struct.pack("<f", 0.5) * TENSOR_NUMBERS

    definitions = get_model_metadata_pb2.SignatureDefMap()
    definition = definitions.signature_def["serving_default"]
    definition.method_name = "tensorflow/serving/predict"
    definition.inputs["x"].dtype = types_pb2.DT_FLOAT
    definition.inputs["x"].tensor_shape.unknown_rank = True
    metadata = get_model_metadata_pb2.GetModelMetadataResponse()
    metadata.model_spec.version.value = 1
    packed = any_pb2.Any()
    packed.Pack(definitions)
    metadata.metadata["signature_def"].CopyFrom(packed)
    messages = {"numbers": numbers, "tensor": tensor, "metadata": metadata}
    return {name: message.SerializeToString() for name, message in messages.items()}


def grpc_addresses(flags: dict[str, str]) -> list[str]:
    """Where gRPC is to be had, as nginx writes it. A socket that a killed process left is removed."""
    addresses = [f"127.0.0.1:{flags['port']}"] if flags["port"] != "0" else []
    if path := flags.get("grpc_socket_path"):
        Path(path).unlink(missing_ok=True)
        addresses.append(f"unix:{path}")
    return addresses


def main() -> None:
    flags = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:] if "=" in word)
    with tempfile.TemporaryDirectory(prefix="stub-model-server-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # started by root, nginx reads files as another user
        grpc = ""
        if "port" in flags:
            for file, message in answers().items():
                (directory / file).write_bytes(struct.pack(">BI", 0, len(message)) + message)
            listen = " ".join(f"listen {address} http2;" for address in grpc_addresses(flags))
            grpc = GRPC.format(directory=directory, listen=listen)
        configuration = directory / "nginx.conf"
        configuration.write_text(
            CONFIGURATION.format(directory=directory, port=flags["rest_api_port"], grpc=grpc)
        )
        command = [nginx.find().binary, "-p", name, "-e", "stderr", "-c", str(configuration)]
        asked_to_end: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: asked_to_end.append(number))
        with subprocess.Popen(command) as process:
            while process.poll() is None:
                if asked_to_end:
                    process.terminate()  # again if need be: nginx misses one that comes while it starts
                time.sleep(LOOK_SECONDS)
            sys.exit(process.returncode)


if __name__ == "__main__":
    main()
