"""Captured data against the example of SageMaker's guide, and its way to S3."""

from __future__ import annotations

import base64
import errno
import json
from typing import Any

import pytest

from tfsd.capture_format import Body
from tfsd.sagemaker.invocations.data_capture import DataCapture, captured_data
from tfsd.sagemaker.object_store import ObjectStoreError

MOMENT = 1644859549.25  # 2022-02-14T17:25:49Z
CONFIG: dict[str, Any] = {
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://bucket/capture/",
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
}
REQUEST, RESPONSE = Body(b"1,2\n", "text/csv"), Body(b"0.5", "text/csv; charset=utf-8")


class Objects:
    """S3, as far as it is written to."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}

    def put(self, bucket: str, key: str, body: bytes, content_type: str) -> None:
        if bucket == "missing":
            raise ObjectStoreError("The bucket missing does not exist.")
        if bucket == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        self.stored[f"{bucket}/{key}"] = body


def test_the_example_of_the_guide() -> None:
    objects = Objects()
    capture = DataCapture(objects, clock=lambda: MOMENT)  # type: ignore[arg-type]
    for _ in range(2):
        capture.capture(CONFIG, "churn", "AllTraffic", REQUEST, RESPONSE, inference_id="i-1")
    capture.store()
    ((key, body),) = objects.stored.items()
    assert key.startswith("bucket/capture/churn/AllTraffic/2022/02/14/17/25-49-250-")
    assert key.endswith(".jsonl")
    first, second = map(json.loads, body.splitlines())
    assert first["captureData"] == {
        "endpointInput": {
            "observedContentType": "text/csv",
            "mode": "INPUT",
            "data": "1,2\n",
            "encoding": "CSV",
        },
        "endpointOutput": {
            "observedContentType": "text/csv; charset=utf-8",
            "mode": "OUTPUT",
            "data": "0.5",
            "encoding": "CSV",
        },
    }
    assert first["eventVersion"] == "0"
    assert first["eventMetadata"]["inferenceTime"] == "2022-02-14T17:25:49Z"
    assert first["eventMetadata"]["inferenceId"] == "i-1"
    assert first["eventMetadata"]["eventId"] != second["eventMetadata"]["eventId"]


def test_types_that_the_configuration_does_not_name_are_base64() -> None:
    config = {**CONFIG, "CaptureContentTypeHeader": {}, "CaptureOptions": [{"CaptureMode": "InputAndOutput"}]}
    data = captured_data(config, REQUEST, Body(b"\xff\x00", None))
    assert data["endpointInput"]["encoding"] == "BASE64"
    assert base64.b64decode(data["endpointOutput"]["data"]) == b"\xff\x00"
    assert "observedContentType" not in data["endpointOutput"]
    only_input = {**CONFIG, "CaptureOptions": [{"CaptureMode": "Input"}]}
    assert list(captured_data(only_input, REQUEST, RESPONSE)) == ["endpointInput"]


def test_what_is_not_sampled_is_not_captured() -> None:
    objects = Objects()
    chances = iter([0.1, 0.3, 0.9])
    capture = DataCapture(objects, chance=lambda: next(chances))  # type: ignore[arg-type]
    for _ in range(3):
        capture.capture({**CONFIG, "InitialSamplingPercentage": 20}, "e", "v", REQUEST, RESPONSE)
    capture.capture({**CONFIG, "EnableCapture": False}, "e", "v", REQUEST, RESPONSE)
    capture.store()
    assert [len(body.splitlines()) for body in objects.stored.values()] == [1]


@pytest.mark.parametrize("bucket", ["missing", "full"])
def test_what_cannot_be_stored_harms_nobody(bucket: str) -> None:
    capture = DataCapture(Objects())  # type: ignore[arg-type]
    capture.capture({**CONFIG, "DestinationS3Uri": f"s3://{bucket}/x"}, "e", "v", REQUEST, RESPONSE)
    capture.store()
