"""tritonclient's HTTP client against an endpoint: `python triton_client.py HOST:PORT`. Prints what it found as JSON."""

import json
import sys

import ml_dtypes
import numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

VALUES = {
    "BOOL": np.array([[True, False]]),
    "UINT8": np.array([[0, 255]], np.uint8),
    "UINT16": np.array([[0, 65535]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1]], np.uint64),
    "INT8": np.array([[-128, 127]], np.int8),
    "INT16": np.array([[-(2**15), 2**15 - 1]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "FP16": np.array([[0.5, -65504]], np.float16),
    "FP32": np.array([[0.1, 3e38]], np.float32),
    "FP64": np.array([[0.1, 1e300]], np.float64),
    "BYTES": np.array([["größe".encode(), b"plain"]], object),
}
JSON_ONLY_NOT = ("FP16", "BF16")  # which this client sends in binary alone


def inputs(binary):
    made = []
    for name, value in VALUES.items():
        assert np_to_triton_dtype(value.dtype) == name
        tensor = http.InferInput(name, list(value.shape), name)
        tensor.set_data_from_numpy(value, binary_data=binary or name in JSON_ONLY_NOT)
        made.append(tensor)
    bf16 = http.InferInput("BF16", [1, 2], "BF16")
    bf16.set_data_from_numpy(np.array([[0.5, -2.0]], ml_dtypes.bfloat16))
    return [*made, bf16]


def equal(result):
    found = {name: result.as_numpy(f"out_{name}") for name in VALUES}
    unequal = []
    for name, value in VALUES.items():
        got = found[name]
        if name == "BYTES":
            got = np.array(
                [item if isinstance(item, bytes) else item.encode() for item in got.ravel()], object
            )
            value = value.ravel()
        if not (got.dtype == value.dtype and np.array_equal(got, value)):
            unequal.append([name, repr(got)])
    bf16 = result.as_numpy("out_BF16")
    if bf16.ravel().astype(np.float32).tolist() != [0.5, -2.0]:
        unequal.append(["BF16", repr(bf16)])
    return unequal


def error(ask):
    try:
        ask()
    except InferenceServerException as refused:
        return [refused.status(), refused.message()]
    return None


def main():
    client = http.InferenceServerClient(sys.argv[1])
    one = http.InferInput("FP32", [2], "FP32")
    one.set_data_from_numpy(np.array([1, 2], np.float32))
    doubled = client.infer("echo", [one], parameters={"signature_name": "one"}, request_id="r1")
    matrix = http.InferInput("m", [2, 3], "FP32")
    matrix.set_data_from_numpy(np.arange(6, dtype=np.float32).reshape(2, 3))
    summed = client.infer(
        "sum",
        [matrix],
        model_version="1",
        outputs=[http.InferRequestedOutput("sum", binary_data=False)],
        request_compression_algorithm="gzip",
    )
    wrong = http.InferInput("nope", [1], "FP32")
    wrong.set_data_from_numpy(np.zeros(1, np.float32))
    asynchronous = [client.async_infer("sum", [matrix]) for _ in range(8)]
    print(
        json.dumps(
            {
                "live": client.is_server_live(),
                "ready": client.is_server_ready(),
                "model_ready": [
                    client.is_model_ready("sum"),
                    client.is_model_ready("sum", "2"),
                    client.is_model_ready("sum", "3"),
                    client.is_model_ready("nope"),
                ],
                "server": client.get_server_metadata(),
                "model": client.get_model_metadata("sum"),
                "echo": {
                    entry["name"]: entry["datatype"] for entry in client.get_model_metadata("echo")["inputs"]
                },
                "unequal": {
                    f"{binary} {asked}": equal(
                        client.infer(
                            "echo",
                            inputs(binary),
                            outputs=None
                            if asked is None
                            else [
                                http.InferRequestedOutput(
                                    f"out_{name}", binary_data=asked or name in JSON_ONLY_NOT
                                )
                                for name in [*VALUES, "BF16"]
                            ],
                        )
                    )
                    for binary in (True, False)
                    for asked in (None, True, False)
                },
                "doubled": [doubled.as_numpy("doubled").tolist(), doubled.get_response()["id"]],
                "sum": [summed.as_numpy("sum").tolist(), summed.get_response()["model_version"]],
                "asynchronous": [each.get_result().as_numpy("sum").tolist() for each in asynchronous],
                "errors": {
                    "input": error(lambda: client.infer("sum", [wrong])),
                    "model": error(lambda: client.infer("nope", [matrix])),
                    "version": error(lambda: client.get_model_metadata("sum", "9")),
                },
            }
        )
    )


main()
