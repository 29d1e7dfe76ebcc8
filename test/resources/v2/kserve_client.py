"""kserve's InferenceRESTClient against an endpoint: `python kserve_client.py URL`. Prints what it found as JSON."""

import asyncio
import json
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput

URL = sys.argv[1]


def request(binary_in, binary_out):
    matrix = InferInput("m", [2, 3], "FP32")
    matrix.set_data_from_numpy(np.arange(6, dtype=np.float32).reshape(2, 3), binary_data=binary_in)
    outputs = [RequestedOutput("sum", parameters={"binary_data": binary_out})]
    return InferRequest("sum", [matrix], request_id="r2", request_outputs=outputs)


async def main():
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=60))
    sums = {}
    for binary_in in (True, False):
        for binary_out in (True, False):
            answer = await client.infer(URL, request(binary_in, binary_out), model_name="sum")
            sums[f"{binary_in} {binary_out}"] = [answer.outputs[0].as_numpy().tolist(), answer.id]
    text = InferInput("BYTES", [1, 2], "BYTES")
    text.set_data_from_numpy(np.array([["a", "ö"]], object), binary_data=True)
    try:
        await client.infer(URL, InferRequest("echo", [text]), model_name="echo")
        refused = None
    except httpx.HTTPStatusError as error:
        refused = [error.response.status_code, error.response.json()["error"]]
    v1 = InferenceRESTClient(RESTConfig(protocol="v1", retries=0, timeout=60))
    print(
        json.dumps(
            {
                "live": await client.is_server_live(URL),
                "ready": await client.is_server_ready(URL),
                "model_ready": [
                    await client.is_model_ready(URL, "sum"),
                    await client.is_model_ready(URL, "nope"),
                ],
                "sums": sums,
                "refused": refused,
                "v1": await v1.infer(URL, {"instances": [[1, 2, 3]]}, model_name="sum"),
            }
        )
    )


asyncio.run(main())
