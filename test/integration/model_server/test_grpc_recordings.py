"""Replays what a real tensorflow_model_server answered over gRPC: codes, texts and messages must be equal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

RECORDINGS = Path(__file__).parents[2] / "resources" / "model_server" / "golden_grpc.jsonl"
REQUESTS = {
    "Predict": predict_pb2.PredictRequest,
    "Classify": classification_pb2.ClassificationRequest,
    "Regress": regression_pb2.RegressionRequest,
    "MultiInference": inference_pb2.MultiInferenceRequest,
    "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
    "GetModelStatus": get_model_status_pb2.GetModelStatusRequest,
    "HandleReloadConfigRequest": model_management_pb2.ReloadConfigRequest,
}
CASES = [json.loads(line) for line in RECORDINGS.read_text().splitlines()]
#: case -> why it may differ. None at present.
EXCEPTIONS: dict[str, str] = {}


class Client:
    """Both services of one server."""

    def __init__(self, address: str, models: Path) -> None:
        self.channel = grpc.insecure_channel(address)
        self.models = models
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def call(self, case: dict[str, Any]) -> tuple[str, str, Any]:
        text = case["request_textproto"].replace("MODELS", str(self.models)).replace("WORK", "/nonexistent")
        request = text_format.Parse(text, REQUESTS[case["method"]]())
        service = self.model if hasattr(self.model, case["method"]) else self.prediction
        try:
            return "OK", "", getattr(service, case["method"])(request, timeout=60)
        except grpc.RpcError as error:
            return error.code().name, error.details(), None

    def drop_all_but_latest_half_plus_two(self) -> None:
        """The reload that was made between two recorded cases but not recorded itself."""
        request = model_management_pb2.ReloadConfigRequest()
        request.config.model_config_list.config.add(
            name="half_plus_two", base_path=str(self.models / "half_plus_two"), model_platform="tensorflow"
        )
        self.model.HandleReloadConfigRequest(request, timeout=60)


@pytest.fixture(scope="module")
def server(start_server: Any, models: Any) -> Any:
    return start_server(
        f"--model_config_file={models}/models.config", "--allow_version_labels_for_unavailable_models=true"
    )


@pytest.fixture(scope="module")
def client(server: Any, models: Any) -> Iterator[Any]:
    client = Client(server.address, models)
    yield client
    client.channel.close()


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_answers_as_recorded(case: Any, client: Any, server: Any) -> None:
    if case["name"] in EXCEPTIONS:
        pytest.skip(EXCEPTIONS[case["name"]])
    if case["name"] == "reload_then_predict_dropped":
        client.drop_all_but_latest_half_plus_two()
        server.wait_for_log("Done unloading servable version {name: half_plus_two version: 123}")
        server.wait_for_log("Done unloading servable version {name: matrix version: 1}")
    code, details, response = client.call(case)
    assert (code, details) == (case["code"], case["details"])
    if case["response_textproto"] is None:
        assert response is None
    else:  # as text: NaN is not equal to itself, and packed maps have no order
        assert text_format.MessageToString(response) == _normal(case["response_textproto"], response)


def _normal(text: str, response: Any) -> str:
    return text_format.MessageToString(text_format.Parse(text, type(response)()))


def test_every_exception_is_a_recorded_case() -> None:
    assert set(EXCEPTIONS) <= {case["name"] for case in CASES}
