"""What surrounds invocations, as boto3 sees it: streams, metrics, captured data, asynchronous endpoints."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("boto3")

from botocore.exceptions import ClientError, EventStreamError

from tfsd.sagemaker.instances.http_client import Response

from .conftest import wait_for

CAPTURE = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://captured/data",
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
}


def listed(api: Any, bucket: str, prefix: str = "") -> list[str]:
    found = api.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
    return [item["Key"] for item in found.get("Contents", [])]


def content(api: Any, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    body: bytes = api.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


class TestStreams:
    def test_each_chunk_is_a_part(self, api: Any) -> None:
        api.make_model("stub")
        api.make_endpoint("e", {"ModelName": "stub"})
        answer = api.client("sagemaker-runtime").invoke_endpoint_with_response_stream(
            EndpointName="e", Body=b"stream 3"
        )
        parts = [event["PayloadPart"]["Bytes"] for event in answer["Body"]]
        assert parts == [b"piece 0", b"piece 1", b"piece 2"]
        assert answer["InvokedProductionVariant"] == "stub"

    def test_an_error_status_is_a_model_error(self, api: Any) -> None:
        api.make_model("stub")
        api.make_endpoint("e", {"ModelName": "stub"})
        runtime = api.client("sagemaker-runtime")
        with pytest.raises(runtime.exceptions.ModelError) as caught:
            runtime.invoke_endpoint_with_response_stream(EndpointName="e", Body=b"status 418")
        assert caught.value.response["OriginalStatusCode"] == 418

    def test_a_defect_of_ours_is_an_internal_failure(self, api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(self: Response) -> Iterator[bytes]:
            yield b"first"
            raise RuntimeError("a defect")

        api.make_model("stub")
        api.make_endpoint("e", {"ModelName": "stub"})
        monkeypatch.setattr(Response, "chunks", broken)
        stream = iter(
            api.client("sagemaker-runtime").invoke_endpoint_with_response_stream(EndpointName="e", Body=b"x")[
                "Body"
            ]
        )
        assert next(stream)["PayloadPart"]["Bytes"] == b"first"
        with pytest.raises(EventStreamError) as caught:
            next(stream)
        assert caught.value.response["Error"]["Code"] == "InternalStreamFailure"


def test_metrics_and_captured_data(api: Any) -> None:
    api.make_model("stub")
    api.put("captured", "other", b"")
    api.make_endpoint("e", {"ModelName": "stub"}, DataCaptureConfig=CAPTURE)
    for _ in range(3):
        api.invoke("e", b"[1]", ContentType="application/json", InferenceId="mine", CustomAttributes="a=b")
    with pytest.raises(ClientError):
        api.invoke("e", b"status 400")
    assert [total(api, name) for name in ("Invocations", "Invocation4XXErrors", "Invocation5XXErrors")] == [
        4,
        1,
        0,
    ]
    assert total(api, "ModelLatency") > 0
    wait_for(lambda: listed(api, "captured", "data/"), "captured data")
    (key,) = listed(api, "captured", "data/")
    assert key.startswith(f"data/e/stub/{datetime.datetime.now(datetime.UTC):%Y/%m/}")
    lines = [json.loads(line) for line in content(api, f"s3://captured/{key}").splitlines()]
    assert len(lines) == 3
    assert lines[0]["captureData"]["endpointInput"] == {
        "observedContentType": "application/json",
        "mode": "INPUT",
        "data": "[1]",
        "encoding": "JSON",
    }
    assert json.loads(lines[0]["captureData"]["endpointOutput"]["data"])["body"] == "[1]"
    assert lines[0]["eventMetadata"]["inferenceId"] == "mine"
    assert lines[0]["eventMetadata"]["customAttributes"] == ["a=b"]


def test_capture_is_on_unless_it_is_switched_off(api: Any) -> None:
    api.make_model("stub")
    without = {name: value for name, value in CAPTURE.items() if name != "EnableCapture"}
    api.make_endpoint("e", {"ModelName": "stub"}, DataCaptureConfig=without)
    described = api.describe("e")["DataCaptureConfig"]
    assert (described["EnableCapture"], described["CaptureStatus"]) == (True, "Started")


def total(api: Any, name: str, *dimensions: tuple[str, str]) -> float:
    now = datetime.datetime.now(datetime.UTC)
    names = dimensions or (("EndpointName", "e"), ("VariantName", "stub"))
    points = api.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in names],
        StartTime=now - datetime.timedelta(minutes=10),
        EndTime=now + datetime.timedelta(minutes=10),
        Period=3600,
        Statistics=["Sum"],
    )["Datapoints"]
    return float(sum(point["Sum"] for point in points))


class TestAsynchronous:
    @pytest.fixture
    def runtime(self, api: Any) -> Any:
        """An asynchronous endpoint with topics, whose messages go to the queues `success` and `failure`."""
        api.make_model("stub")
        api.put("in-bucket", "question", b"hello")
        api.put("out-bucket", "other", b"")
        topics = {name: self.topic(api, name) for name in ("success", "failure")}
        output = {
            "S3OutputPath": "s3://out-bucket/answers/",
            "S3FailurePath": "s3://out-bucket/failures",
            "NotificationConfig": {
                "SuccessTopic": topics["success"],
                "ErrorTopic": topics["failure"],
                "IncludeInferenceResponseIn": ["ERROR_NOTIFICATION_TOPIC"],
            },
        }
        client = {"MaxConcurrentInvocationsPerInstance": 2}
        api.make_endpoint(
            "e", {"ModelName": "stub"}, AsyncInferenceConfig={"OutputConfig": output, "ClientConfig": client}
        )
        return api.client("sagemaker-runtime")

    def topic(self, api: Any, name: str) -> str:
        arn: str = api.client("sns").create_topic(Name=name)["TopicArn"]
        queue = api.client("sqs").create_queue(QueueName=name)["QueueUrl"]
        attributes = api.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        api.client("sns").subscribe(
            TopicArn=arn,
            Protocol="sqs",
            Endpoint=attributes["Attributes"]["QueueArn"],
            Attributes={"RawMessageDelivery": "true"},
        )
        return arn

    def message(self, api: Any, name: str) -> dict[str, Any]:
        sqs = api.client("sqs")
        queue = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        found: list[Any] = []
        wait_for(
            lambda: found.extend(sqs.receive_message(QueueUrl=queue).get("Messages", [])) or found,  # type: ignore[func-returns-value]
            "a message",
        )
        message: dict[str, Any] = json.loads(found[0]["Body"])
        return message

    def test_an_input_in_s3(self, api: Any, runtime: Any) -> None:
        asked = runtime.invoke_endpoint_async(
            EndpointName="e",
            InputLocation="s3://in-bucket/question",
            ContentType="text/plain",
            Accept="application/json",
            CustomAttributes="a=b",
        )
        assert asked["ResponseMetadata"]["HTTPStatusCode"] == 202
        assert asked["OutputLocation"] == f"s3://out-bucket/answers/{asked['InferenceId']}.out"
        assert asked["FailureLocation"] == f"s3://out-bucket/failures/{asked['InferenceId']}-error.out"
        message = self.message(api, "success")
        said = json.loads(content(api, asked["OutputLocation"]))
        assert said["body"] == "hello"
        assert said["headers"]["content-type"] == "text/plain"
        assert said["headers"]["x-amzn-sagemaker-inference-id"] == asked["InferenceId"]
        assert {name: message[name] for name in ("invocationStatus", "inferenceId", "eventName")} == {
            "invocationStatus": "Completed",
            "inferenceId": asked["InferenceId"],
            "eventName": "InferenceResult",
        }
        assert message["requestParameters"] == {
            "accept": "application/json",
            "contentType": "text/plain",
            "customAttributes": "a=b",
            "endpointName": "e",
            "inputLocation": "s3://in-bucket/question",
        }
        assert message["responseParameters"] == {
            "contentType": "application/json",
            "outputLocation": asked["OutputLocation"],
        }
        assert total(api, "InvocationsProcessed", ("EndpointName", "e")) == 1

    def test_inline_input_and_names_of_one_s_own(self, api: Any, runtime: Any) -> None:
        asked = runtime.invoke_endpoint_async(
            EndpointName="e",
            Body=b"inline",
            InferenceId="mine",
            S3OutputPathExtension="day/1",
            Filename="x.json",
        )
        assert asked["InferenceId"] == "mine"
        assert asked["OutputLocation"] == "s3://out-bucket/answers/day/1/x.json"
        wait_for(lambda: listed(api, "out-bucket", "answers"), "the answer")
        assert json.loads(content(api, asked["OutputLocation"]))["body"] == "inline"

    def test_an_error_of_the_container_is_a_failure_object(self, api: Any, runtime: Any) -> None:
        asked = runtime.invoke_endpoint_async(EndpointName="e", Body=b"status 400")
        message = self.message(api, "failure")
        assert message["invocationStatus"] == "Failed"
        assert "Received client error (400)" in message["failureReason"]
        assert message["responseParameters"]["responseBody"]["content"] == '{"error": "as you wish"}'
        assert content(api, asked["FailureLocation"]) == b'{"error": "as you wish"}'
        assert not listed(api, "out-bucket", "answers")

    def test_an_input_that_is_not_there(self, api: Any, runtime: Any) -> None:
        runtime.invoke_endpoint_async(EndpointName="e", InputLocation="s3://in-bucket/gone")
        assert "s3://in-bucket/gone does not exist" in self.message(api, "failure")["failureReason"]

    def test_a_request_that_waits_too_long_expires(self, api: Any, runtime: Any) -> None:
        api.emulator.asynchronous._clock = lambda: time.time() + 61
        asked = runtime.invoke_endpoint_async(EndpointName="e", Body=b"x", RequestTTLSeconds=60)
        wait_for(lambda: listed(api, "out-bucket", "failures"), "the failure")
        assert b"RequestTTLSeconds" in content(api, asked["FailureLocation"])

    def test_what_is_refused(self, api: Any, runtime: Any) -> None:
        for more in ({}, {"Body": b"x", "InputLocation": "s3://in-bucket/question"}):
            with pytest.raises(ClientError, match="either InputLocation or Body") as caught:
                runtime.invoke_endpoint_async(EndpointName="e", **more)
            assert caught.value.response["Error"]["Code"] == "ValidationError"
        with pytest.raises(ClientError, match="is asynchronous"):
            runtime.invoke_endpoint(EndpointName="e", Body=b"x")
