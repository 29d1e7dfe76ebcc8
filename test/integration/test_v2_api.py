"""The Open Inference Protocol on the endpoint's port: its own clients, unchanged, and what they do not send."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from integration.conftest import StartStack, linked
from integration.test_serving import error_of
from support import client_environments, v2_clients
from support.code import add_model
from support.models import built_models
from support.multi_model import MultiModelStack
from support.stack import RunningStack

ON = {"SAGEMAKER_TFS_V2_API": "true", "SAGEMAKER_TFS_REST_API": "true"}
HANDLER = "def handler(data, context):\n    return b'code'\n"
LENGTH = "Inference-Header-Content-Length"
SHARED = [
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BF16",
    "BYTES",
]


@pytest.fixture(scope="module")
def v2_models() -> Path:
    return built_models("v2")


@pytest.fixture(scope="module")
def stack(start_stack: StartStack, v2_models: Path, tmp_path_factory: pytest.TempPathFactory) -> RunningStack:
    """`echo`, `sum`, and `own`, which has code."""
    model_dir = linked(tmp_path_factory.mktemp("v2"), v2_models, "echo", "sum")
    add_model(model_dir, "own", v2_models / "sum", HANDLER)
    return start_stack(model_dir, **ON, SAGEMAKER_TFS_DEFAULT_MODEL_NAME="sum")


def infer(
    stack: RunningStack, path: str, document: Any, rest: bytes | None = None, **headers: str
) -> requests.Response:
    """POST an inference request; with `rest` it is one of binary tensors."""
    body = json.dumps(document).encode()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if rest is not None:
        fields[LENGTH] = str(len(body))
        body += rest
    return stack.session.post(stack.url(f"/v2/models/{path}/infer"), data=body, headers=fields, timeout=60)


def matrix(*rows: list[float], **more: Any) -> dict[str, Any]:
    return {
        "inputs": [{"name": "m", "datatype": "FP32", "shape": [len(rows), 3], "data": list(rows)}],
        **more,
    }


def one(data: list[Any], **more: Any) -> dict[str, Any]:
    entry = {"name": "FP32", "datatype": "FP32", "shape": [len(data)], "data": data}
    return {"parameters": {"signature_name": "one"}, "inputs": [entry], **more}


@pytest.mark.timeout(client_environments.INSTALL_SECONDS + 300)
def test_tritonclient(stack: RunningStack) -> None:
    found = v2_clients.run("triton_client.py", f"127.0.0.1:{stack.port}")
    assert (found["live"], found["ready"]) == (True, True)
    assert found["model_ready"] == [True, True, False, False]
    assert found["server"]["extensions"] == ["binary_tensor_data"]
    assert found["model"] == {
        "name": "sum",
        "versions": ["1", "2"],
        "platform": "tensorflow_savedmodel",
        "inputs": [{"name": "m", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [{"name": "sum", "datatype": "FP32", "shape": [-1]}],
    }
    assert found["echo"] == {name: name for name in SHARED}
    assert len(found["unequal"]) == 6
    assert not any(found["unequal"].values()), found["unequal"]
    assert found["doubled"] == [[2.0, 4.0], "r1"]
    assert found["sum"] == [[3.0, 12.0], "1"]
    assert found["asynchronous"] == [[3.0, 12.0]] * 8
    assert found["errors"]["input"][0] == "400"
    assert "'nope'" in found["errors"]["input"][1]
    assert found["errors"]["model"][0] == "404"
    assert "1, 2" in found["errors"]["version"][1]


@pytest.mark.timeout(client_environments.INSTALL_SECONDS + 300)
def test_kserve_client(stack: RunningStack) -> None:
    found = v2_clients.run("kserve_client.py", f"http://127.0.0.1:{stack.port}")
    assert (found["live"], found["ready"]) == (True, True)
    assert found["model_ready"] == [True, False]
    assert len(found["sums"]) == 4
    assert all(each == [[3.0, 12.0], "r2"] for each in found["sums"].values()), found["sums"]
    assert found["refused"][0] == 400
    assert "lacks the inputs" in found["refused"][1]
    assert found["v1"] == {"predictions": [6.0]}


def test_json_and_binary_side_by_side(stack: RunningStack) -> None:
    """One input in JSON and one in binary; an output of each kind, and the rest is not computed."""
    full = {name: [[1, 0]] for name in SHARED if name != "BYTES"}
    inputs: list[dict[str, Any]] = [
        {"name": name, "datatype": name, "shape": [1, 2], "data": data} for name, data in full.items()
    ]
    text = b"".join(struct.pack("<I", len(item)) + item for item in (b"\xff", b""))
    inputs.append(
        {"name": "BYTES", "datatype": "BYTES", "shape": [1, 2], "parameters": {"binary_data_size": len(text)}}
    )
    outputs = [{"name": "out_BYTES", "parameters": {"binary_data": True}}, {"name": "out_INT8"}]
    answer = infer(stack, "echo", {"id": "x", "inputs": inputs, "outputs": outputs}, text)
    assert answer.status_code == 200, answer.text
    size = int(answer.headers[LENGTH])
    assert json.loads(answer.content[:size]) == {
        "model_name": "echo",
        "model_version": "7",
        "id": "x",
        "outputs": [
            {
                "name": "out_BYTES",
                "datatype": "BYTES",
                "shape": [1, 2],
                "parameters": {"binary_data_size": len(text)},
            },
            {"name": "out_INT8", "datatype": "INT8", "shape": [1, 2], "data": [1, 0]},
        ],
    }
    assert answer.content[size:] == text
    outputs[0] = {"name": "out_BYTES"}
    answer = infer(stack, "echo", {"inputs": inputs, "outputs": outputs}, text)
    assert "binary_data" in error_of(answer, 400)


def test_numbers_that_json_has_no_word_for(stack: RunningStack) -> None:
    answer = infer(stack, "echo", one([float("nan"), float("inf"), 0.1]))
    assert answer.headers["Content-Type"] == "application/json"
    assert '"data": [NaN, Infinity, 0.2]' in answer.text


def test_signatures_are_chosen_and_described(stack: RunningStack) -> None:
    answer = requests.get(stack.url("/v2/models/echo/versions/7?signature_name=other"), timeout=30)
    assert [(entry["name"], entry["datatype"]) for entry in answer.json()["outputs"]] == [
        ("x", "FP32"),
        ("z", "DT_COMPLEX64"),
    ]
    document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}
    document["parameters"] = {"signature_name": "other"}  # type: ignore[assignment]
    assert "DT_COMPLEX64" in error_of(infer(stack, "echo", document), 400)
    document["outputs"] = [{"name": "x"}]
    assert infer(stack, "echo", document).json()["outputs"][0]["data"] == [1.0]
    answer = requests.get(stack.url("/v2/models/echo?signature_name=nope"), timeout=30)
    assert "one, other, serving_default" in error_of(answer, 400)


def test_code_of_the_model_s_own_is_passed_by(stack: RunningStack) -> None:
    assert infer(stack, "own", matrix([1, 2, 3])).json()["outputs"][0]["data"] == [6.0]
    assert stack.invoke("{}", attributes="tfs-model-name=own").text == "code"


@pytest.mark.parametrize(
    ("path", "document", "status", "told"),
    [
        ("sum", {}, 400, "no inputs"),
        ("sum", [], 400, "must be an object"),
        (
            "sum",
            {"inputs": [{"name": "m", "datatype": "FP64", "shape": [1, 3], "data": [1, 2, 3]}]},
            400,
            "FP32",
        ),
        (
            "sum",
            {"inputs": [{"name": "m", "datatype": "FP32", "shape": [1, 3], "data": [1, 2]}]},
            400,
            "takes 3",
        ),
        ("sum", matrix([1, 2, 3], outputs=[{"name": "nope"}]), 400, "'sum'"),
        ("sum", matrix([1, 2, 3], parameters={"signature_name": "nope"}), 400, "serving_default"),
        ("sum", {"inputs": [{"name": "m", "datatype": "FP32", "shape": [3], "data": [1, 2, 3]}]}, 400, ""),
        ("sum/versions/9", matrix([1, 2, 3]), 404, "1, 2"),
        ("nope", matrix([1, 2, 3]), 404, "'echo'"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(stack: RunningStack, path: str, document: Any, status: int, told: str) -> None:
    assert told in error_of(infer(stack, path, document), status)


@pytest.mark.parametrize("path", ["sum", "own"])
@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"[" * 1020 + b"]" * 1020, "nested deeper than 100"),
        (b"[" * 100_000 + b"]" * 100_000, "nested deeper than 100"),
        (b"1" * 5000, "more than 2000 digits"),
    ],
    ids=["1020 deep", "100000 deep", "5000 digits"],
)
def test_json_beyond_the_limits_of_every_route(
    stack: RunningStack, path: str, value: bytes, told: str
) -> None:
    body = json.dumps(matrix([1, 2, 3])).encode().replace(b"[1, 2, 3]", b"[1, 2, %b]" % value)
    assert value in body
    assert told in error_of(
        stack.session.post(stack.url(f"/v2/models/{path}/infer"), data=body, timeout=60), 400
    )


def test_paths_and_methods_that_there_are_not(stack: RunningStack) -> None:
    for verb, path, status in (
        ("POST", "/v2/models/sum", 405),
        ("GET", "/v2/models/sum/infer", 405),
        ("GET", "/v2/models/sum/config", 404),
        ("POST", "/v2/repository/models/sum/unload", 404),
        ("GET", "/v2x", 404),
        ("GET", "/v2/models", 404),
    ):
        error_of(requests.request(verb, stack.url(path), timeout=30), status)


def test_bodies_may_be_compressed(stack: RunningStack) -> None:
    body = gzip.compress(json.dumps(matrix([1, 2, 3])).encode())
    url, headers = stack.url("/v2/models/sum/infer"), {"Content-Encoding": "gzip"}
    assert requests.post(url, data=body, headers=headers, timeout=30).json()["outputs"][0]["data"] == [6.0]


def test_requests_are_found_in_log_and_metrics(stack: RunningStack) -> None:
    answer = infer(stack, "sum", matrix([1, 2, 3]), X_Amzn_SageMaker_Inference_Id="v2-1")
    assert answer.headers["X-Request-Id"] == "v2-1"
    infer(stack, "echo", {}, X_Amzn_SageMaker_Inference_Id="v2-2")

    def logged(request_id: str) -> str:
        return next((line for line in stack.log_text().splitlines() if f"id={request_id} " in line), "")

    stack.wait_for(
        lambda: "route=worker model=sum" in logged("v2-1") and "model=echo" in logged("v2-2"),
        30,
        "in the log",
    )


def test_a_model_server_that_dies_loses_no_request(stack: RunningStack) -> None:
    stack.kill("model-sum")
    assert infer(stack, "sum", matrix([1, 2, 3])).json()["outputs"][0]["data"] == [6.0]


def test_draining_is_not_ready(stack: RunningStack) -> None:
    mark = stack.run_dir / "draining"
    mark.touch()
    try:
        answer = requests.get(stack.url("/v2/health/ready"), timeout=30)
        assert (answer.status_code, answer.json()["ready"]) == (503, False)
        assert requests.get(stack.url("/v2/health/live"), timeout=30).json() == {"live": True}
        stack.wait_for(
            lambda: infer(stack, "sum", matrix([1, 2, 3])).headers["Connection"] == "close", 30, "closing"
        )
    finally:
        mark.unlink()


class TestManyModels:
    @pytest.fixture(scope="class")
    @staticmethod
    def many(
        v2_models: Path, quick_model_server: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[MultiModelStack]:
        environ = {"SAGEMAKER_TFS_BINARY": str(quick_model_server), "SAGEMAKER_TFS_V2_API": "true"}
        with MultiModelStack(tmp_path_factory.mktemp("stack"), environ) as running:
            for name, code in (("plain", None), ("own + ü", HANDLER)):
                running.loaded(name, running.lay(f"m{len(running.names())}", v2_models / "sum", code))
            yield running

    def test_all_are_served(self, many: MultiModelStack) -> None:
        for name in ("plain", "own%20%2B%20%C3%BC"):
            assert requests.get(many.url(f"/v2/models/{name}/ready"), timeout=30).json()["ready"] is True
            assert infer(many, name, matrix([1, 2, 3])).json()["outputs"][0]["data"] == [6.0]
        assert "not loaded" in error_of(infer(many, "other", matrix([1, 2, 3])), 404)
        assert requests.get(many.url("/v2/health/ready"), timeout=30).json() == {"ready": True}
        assert requests.get(many.url("/v2"), timeout=30).json()["name"] == "tfsd"
