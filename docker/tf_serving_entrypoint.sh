#!/bin/bash
# Plain TensorFlow Serving, as in the images that it comes from: the model in MODEL_BASE_PATH/MODEL_NAME, gRPC on 8500,
# REST on 8501, further flags as arguments. Nothing of SageMaker's contract.
set -eu

server=(tensorflow_model_server)
# Our own server listens on loopback unless told otherwise: a container's published ports need more.
command -v tensorflow_model_server >/dev/null || server=(python3 -m tfsd.model_server --host=::)

exec "${server[@]}" --port=8500 --rest_api_port=8501 \
    --model_name="$MODEL_NAME" --model_base_path="$MODEL_BASE_PATH/$MODEL_NAME" "$@"
