"""An asynchronous endpoint over a real stack: the queue, its limit, objects of answers and failures, messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from integration.conftest import linked
from support.local_sagemaker import LocalSageMaker, variant, wait_for

CODE = """
import threading

running = threading.Semaphore(2)


def handler(data, context):
    import time

    text = data.read().decode()
    if text == "wrong":
        raise ValueError("this is wrong")
    if not running.acquire(blocking=False):
        raise RuntimeError("more than two at a time")
    try:
        time.sleep(0.2)
    finally:
        running.release()
    return text.upper(), "text/plain"
"""
ONE_WORKER: dict[str, Any] = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}


@pytest.fixture(scope="module")
def topics(sagemaker: LocalSageMaker) -> dict[str, str]:
    """Topics by name, each with a queue of that name that takes its messages."""
    sns, sqs = sagemaker.client("sns"), sagemaker.client("sqs")
    found = {}
    for name in ("success", "failure"):
        found[name] = sns.create_topic(Name=name)["TopicArn"]
        url = sqs.create_queue(QueueName=name)["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        sns.subscribe(
            TopicArn=found[name],
            Protocol="sqs",
            Endpoint=attributes["QueueArn"],
            Attributes={"RawMessageDelivery": "true"},
        )
    return found


@pytest.fixture(scope="module")
def endpoint(
    sagemaker: LocalSageMaker,
    models: Path,
    topics: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    directory = linked(tmp_path_factory.mktemp("upper"), models, "half_plus_two")
    (directory / "code").mkdir()
    (directory / "code" / "inference.py").write_text(CODE)
    sagemaker.create_model("upper", directory, **ONE_WORKER)
    sagemaker.make_bucket("answers")
    notify = {"SuccessTopic": topics["success"], "ErrorTopic": topics["failure"]}
    output = {
        "S3OutputPath": "s3://answers/done",
        "S3FailurePath": "s3://answers/failed",
        "NotificationConfig": notify,
    }
    config = {"OutputConfig": output, "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 2}}
    sagemaker.serve("upper", variant("upper"), AsyncInferenceConfig=config)
    return "upper"


def messages(sagemaker: LocalSageMaker, queue: str, count: int) -> list[dict[str, Any]]:
    sqs = sagemaker.client("sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    found: list[dict[str, Any]] = []

    def received() -> bool:
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        for message in answer.get("Messages", []):
            found.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return len(found) >= count

    wait_for(received, f"{count} messages in {queue}")
    return found


def test_a_queue_of_requests(sagemaker: LocalSageMaker, endpoint: str) -> None:
    runtime, s3 = sagemaker.client("sagemaker-runtime"), sagemaker.client("s3")
    asked = {}
    for number in range(12):
        key = f"in/{number}"
        s3.put_object(Bucket="answers", Key=key, Body=b"text %d" % number)
        response = runtime.invoke_endpoint_async(
            EndpointName=endpoint, InputLocation=f"s3://answers/{key}", ContentType="text/plain"
        )
        asked[response["InferenceId"]] = (response["OutputLocation"], b"TEXT %d" % number)
    told = messages(sagemaker, "success", len(asked))
    assert {message["inferenceId"] for message in told} == asked.keys()
    assert {message["invocationStatus"] for message in told} == {"Completed"}
    for location, expected in asked.values():
        key = location.removeprefix("s3://answers/")
        assert s3.get_object(Bucket="answers", Key=key)["Body"].read() == expected


def test_a_failure_has_its_object_and_its_message(sagemaker: LocalSageMaker, endpoint: str) -> None:
    response = sagemaker.client("sagemaker-runtime").invoke_endpoint_async(
        EndpointName=endpoint, Body=b"wrong", ContentType="text/plain"
    )
    [message] = messages(sagemaker, "failure", 1)
    assert message["inferenceId"] == response["InferenceId"]
    assert "this is wrong" in message["failureReason"]
    key = response["FailureLocation"].removeprefix("s3://answers/")
    stored = sagemaker.client("s3").get_object(Bucket="answers", Key=key)["Body"].read()
    assert b"this is wrong" in stored


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "either InputLocation or Body"),
        ({"Body": b"x", "InputLocation": "s3://answers/x"}, "either InputLocation or Body"),
        ({"Body": b"x" * 128_001}, "128000"),
        ({"InputLocation": "s3://answers/x", "RequestTTLSeconds": 1}, "requestTTLSeconds"),
    ],
    ids=range(4),
)
def test_what_is_refused(sagemaker: LocalSageMaker, endpoint: str, given: dict[str, Any], text: str) -> None:
    runtime = sagemaker.client("sagemaker-runtime", parameter_validation=False)
    with pytest.raises(ClientError, match=text):
        runtime.invoke_endpoint_async(EndpointName=endpoint, **given)
    with pytest.raises(ClientError, match=r"ValidationError.*use InvokeEndpointAsync"):
        runtime.invoke_endpoint(EndpointName=endpoint, Body=b"x")


def test_an_input_that_is_not_there_is_a_failure(sagemaker: LocalSageMaker, endpoint: str) -> None:
    response = sagemaker.client("sagemaker-runtime").invoke_endpoint_async(
        EndpointName=endpoint, InputLocation="s3://answers/nothing", ContentType="text/plain"
    )
    [message] = messages(sagemaker, "failure", 1)
    assert message["inferenceId"] == response["InferenceId"]
    assert "s3://answers/nothing does not exist" in message["failureReason"]
