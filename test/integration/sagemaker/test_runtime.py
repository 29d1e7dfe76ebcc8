"""The runtime over real stacks: headers both ways, every limit and every error that a client of an endpoint can see.

What takes the platform's 60 s begins with the module, all at once, and is looked at when its time is over.
"""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EventStreamError, WaiterError

from bench.bench_sagemaker import SIGNED
from integration.conftest import linked
from support.local_sagemaker import IMAGE, ROLE, LocalSageMaker, variant, wait_for

MAX_BYTES = 6 * 1024 * 1024
ENVIRONMENT: dict[str, Any] = {
    "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
    "SAGEMAKER_MODEL_SERVER_TIMEOUT": "150",  # so that it is the platform's limit that is met
}
CODE = """
import json
import time

ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


class Refusal(Exception):
    def __init__(self, status_code):
        super().__init__("as you wish")
        self.status_code = status_code


def handler(data, context):
    body = data.read()
    word, _, number = body[:100].decode("latin-1").partition(" ")
    if word == "status":
        raise Refusal(int(number))
    if word == "large":
        return b"x" * int(number), "application/octet-stream"
    if word in ("break", "stall"):
        return pieces(word), "text/plain"
    if word == "sleep":
        time.sleep(100)
    said = {
        "length": len(body),
        "content_type": context.request_content_type,
        "accept": context.accept_header,
        "attributes": context.custom_attributes,
    }
    headers = {
        ATTRIBUTES: "tfs-said=yes",
        "X-Amzn-SageMaker-New-Session-Id": "s1; Expires=2030-01-01T00:00:00Z",
        "X-Amzn-SageMaker-Closed-Session-Id": "s0",
    }
    return json.dumps(said), "application/json", headers


def pieces(word):
    yield "first"
    if word == "stall":
        time.sleep(100)
    raise RuntimeError("no second piece")
"""
SLOW = """
import os
import time

if not os.path.exists("{marker}"):
    open("{marker}", "w").close()
    time.sleep(70)


def handler(data, context):
    return "loaded", "text/plain"
"""
CAPTURE = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://models/captured",
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
}


def outcome(function: Any, **parameters: Any) -> dict[str, Any]:
    """What the API responds to an invocation, its body read, or the error's response."""
    try:
        response: dict[str, Any] = function(**parameters)
    except ClientError as error:
        return dict(error.response)
    return {**response, "Body": response["Body"].read()}


def events(runtime: Any, body: bytes) -> tuple[list[bytes], EventStreamError | None]:
    """The pieces of a stream, and the error that it ended with."""
    stream = runtime.invoke_endpoint_with_response_stream(EndpointName="e", Body=body)["Body"]
    parts: list[bytes] = []
    try:
        for event in stream:
            parts.append(event["PayloadPart"]["Bytes"])
    except EventStreamError as error:
        return parts, error
    return parts, None


@pytest.fixture(scope="module")
def runtime(
    sagemaker: LocalSageMaker, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """With the endpoint `e`, whose handler does what it is told, and `many`, whose model `slow` takes its time."""
    for name, code in (("e", CODE), ("slow", SLOW), ("unhealthy", SLOW)):
        directory = linked(tmp_path_factory.mktemp(name), models, "half_plus_two")
        (directory / "code").mkdir()
        (directory / "code" / "inference.py").write_text(code.replace("{marker}", str(directory / "marker")))
        sagemaker.create_model(name, directory, **ENVIRONMENT)
    container = {"Image": IMAGE, "ModelDataUrl": "s3://models/slow/", "Mode": "MultiModel"}
    sagemaker.client("sagemaker").create_model(
        ModelName="many", ExecutionRoleArn=ROLE, PrimaryContainer=container
    )
    sagemaker.serve("many", variant("many"))
    sagemaker.serve("e", variant("e"), DataCaptureConfig=CAPTURE)
    yield sagemaker.client("sagemaker-runtime")
    for name in ("e", "many"):
        sagemaker.delete_endpoint(name)


@pytest.fixture(scope="module", autouse=True)
def waiting(sagemaker: LocalSageMaker, runtime: Any) -> Iterator[dict[str, Future[Any]]]:
    """Requests that take the platform's whole time; and an endpoint that takes longer to start than it may."""
    control = sagemaker.client("sagemaker")
    patience = {"ContainerStartupHealthCheckTimeoutInSeconds": 60}
    control.create_endpoint_config(
        EndpointConfigName="unhealthy", ProductionVariants=[variant("unhealthy", **patience)]
    )
    control.create_endpoint(EndpointName="unhealthy", EndpointConfigName="unhealthy")
    with ThreadPoolExecutor(3) as threads:

        def begin(function: Any, *arguments: Any, **parameters: Any) -> Future[Any]:
            return threads.submit(function, *arguments, **parameters)

        client = sagemaker.client("sagemaker-runtime")
        yield {
            "sleep": begin(outcome, client.invoke_endpoint, EndpointName="e", Body=b"sleep"),
            "stall": begin(events, sagemaker.client("sagemaker-runtime"), b"stall"),
            "slow": begin(
                outcome, client.invoke_endpoint, EndpointName="many", TargetModel="model.tar.gz", Body=b""
            ),
        }


def test_headers_reach_the_container_and_the_client(runtime: Any) -> None:
    found = outcome(
        runtime.invoke_endpoint,
        EndpointName="e",
        Body=b"hello",
        ContentType="text/x-mine",
        Accept="application/json",
        CustomAttributes="tfs-model-name=half_plus_two",
        InferenceId="mine",
        SessionId="NEW_SESSION",
        TargetVariant="e",
    )
    assert json.loads(found["Body"]) == {
        "length": 5,
        "content_type": "text/x-mine",
        "accept": "application/json",
        "attributes": "tfs-model-name=half_plus_two",
    }
    assert (found["ContentType"], found["InvokedProductionVariant"]) == ("application/json", "e")
    assert found["CustomAttributes"] == "tfs-said=yes"
    assert found["NewSessionId"] == "s1; Expires=2030-01-01T00:00:00Z"
    assert found["ClosedSessionId"] == "s0"


@pytest.mark.parametrize(
    ("status", "side"), [(400, "client"), (404, "client"), (500, "server"), (503, "server")]
)
@pytest.mark.parametrize("operation", ["invoke_endpoint", "invoke_endpoint_with_response_stream"])
def test_an_error_of_the_container_is_a_model_error(
    runtime: Any, operation: str, status: int, side: str
) -> None:
    found = outcome(getattr(runtime, operation), EndpointName="e", Body=b"status %d" % status)
    assert found["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert found["Error"]["Code"] == "ModelError"
    assert found["OriginalStatusCode"] == status
    assert "as you wish" in found["OriginalMessage"]
    assert found["LogStreamArn"].startswith(
        "arn:aws:logs:us-west-2:123456789012:log-group:/aws/sagemaker/Endpoints/e:log-stream:e/i-"
    )
    assert found["Error"]["Message"].startswith(f"Received {side} error ({status}) from primary with message")


def test_six_mebibytes_and_no_more(runtime: Any) -> None:
    assert json.loads(outcome(runtime.invoke_endpoint, EndpointName="e", Body=b"x" * MAX_BYTES)["Body"])[
        "length"
    ] == (MAX_BYTES)
    for operation in (runtime.invoke_endpoint, runtime.invoke_endpoint_with_response_stream):
        refused = outcome(operation, EndpointName="e", Body=b"x" * (MAX_BYTES + 1))
        assert refused["ResponseMetadata"]["HTTPStatusCode"] == 413
        assert refused["Error"]["Message"] == f"HTTP content length exceeded {MAX_BYTES} bytes."
    assert len(outcome(runtime.invoke_endpoint, EndpointName="e", Body=b"large %d" % MAX_BYTES)["Body"]) == (
        MAX_BYTES
    )
    refused = outcome(runtime.invoke_endpoint, EndpointName="e", Body=b"large %d" % (MAX_BYTES + 1))
    assert (refused["Error"]["Code"], refused["OriginalStatusCode"]) == ("ModelError", 0)
    assert f"The response has {MAX_BYTES + 1} bytes" in refused["OriginalMessage"]
    parts, error = events(runtime, b"large %d" % (MAX_BYTES + 1))  # a stream may be longer
    assert (sum(map(len, parts)), error) == (MAX_BYTES + 1, None)


def test_a_stream_that_breaks(runtime: Any) -> None:
    parts, error = events(runtime, b"break")
    assert b"".join(parts) == b"first"
    assert error is not None
    assert error.response["Error"]["Code"] == "ModelStreamError"
    assert "The connection to the model was closed" in str(error)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an endpoint that is not there": (
        {"EndpointName": "none"},
        "Endpoint none of account 123456789012 not found.",
    ),
    "a variant that is not there": ({"TargetVariant": "x"}, "Variant x was not found on endpoint e"),
    "a model of a single-model endpoint": ({"TargetModel": "x"}, "only accepted by multi-model endpoints"),
    "a container of a single one": ({"TargetContainerHostname": "x"}, "InferenceExecutionConfig"),
    "an inference component": ({"InferenceComponentName": "x"}, "has no inference components"),
    "a multi-model endpoint without a model": ({"EndpointName": "many"}, "TargetModel"),
    "a model that is not there": (
        {"EndpointName": "many", "TargetModel": "x"},
        "Failed to download model data(bucket: models, key: slow/x).",
    ),
    "a header that is too long": ({"InferenceId": "x" * 65}, "1 validation error detected"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_at_run_time(sagemaker: LocalSageMaker, runtime: Any, case: str) -> None:
    more, text = REFUSED[case]
    unchecked = sagemaker.client("sagemaker-runtime", parameter_validation=False)
    found = outcome(unchecked.invoke_endpoint, **{"EndpointName": "e", "Body": b"x", **more})
    assert found["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert found["Error"]["Code"] == "ValidationError"
    assert text in found["Error"]["Message"]


def test_an_endpoint_that_is_not_asynchronous(runtime: Any) -> None:
    with pytest.raises(ClientError, match=r"ValidationError.*is not an asynchronous one"):
        runtime.invoke_endpoint_async(EndpointName="e", InputLocation="s3://models/x")


def test_a_path_that_is_no_operation(sagemaker: LocalSageMaker, runtime: Any) -> None:
    with contextlib.closing(http.client.HTTPConnection("localhost", sagemaker.port)) as connection:
        connection.request("POST", "/endpoints/e/nothing", b"", {"Authorization": SIGNED})
        response = connection.getresponse()
        assert response.status == 400
        assert response.headers["x-amzn-ErrorType"] == "UnknownOperationException"
        assert "/endpoints/e/nothing" in json.loads(response.read())["message"]


def test_what_is_captured_and_counted(sagemaker: LocalSageMaker, runtime: Any) -> None:
    for body in (b"counted", b"status 400", b"status 500"):
        outcome(runtime.invoke_endpoint, EndpointName="e", Body=body, InferenceId="counted")
    s3, cloudwatch = sagemaker.client("s3"), sagemaker.client("cloudwatch")

    def captured() -> list[Any]:
        found = s3.list_objects_v2(Bucket="models", Prefix="captured/e/e/").get("Contents", [])
        lines = [s3.get_object(Bucket="models", Key=each["Key"])["Body"].read() for each in found]
        events = [json.loads(line) for line in b"".join(lines).splitlines()]
        return [each for each in events if each["eventMetadata"].get("inferenceId") == "counted"]

    wait_for(captured, "a captured request")
    [line] = captured()
    assert {"endpointInput", "endpointOutput"} <= line["captureData"].keys()

    def total(name: str) -> float:
        now = datetime.datetime.now(datetime.UTC)
        points = cloudwatch.get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=name,
            Dimensions=[{"Name": "EndpointName", "Value": "e"}, {"Name": "VariantName", "Value": "e"}],
            StartTime=now - datetime.timedelta(hours=1),
            EndTime=now + datetime.timedelta(hours=1),
            Period=60,
            Statistics=["Sum"],
        )["Datapoints"]
        return sum(point["Sum"] for point in points)

    assert total("Invocations") >= 3
    assert total("Invocation4XXErrors") >= 1
    assert total("Invocation5XXErrors") >= 1
    assert total("ModelLatency") > total("OverheadLatency") > 0


def test_the_platforms_60_seconds(waiting: dict[str, Future[Any]]) -> None:
    found = waiting["sleep"].result()
    assert (found["Error"]["Code"], found["ResponseMetadata"]["HTTPStatusCode"]) == ("ModelError", 424)
    assert found["OriginalStatusCode"] == 0
    assert found["OriginalMessage"].startswith("Your invocation timed out while waiting for a response")


def test_a_stream_that_stands_still(waiting: dict[str, Future[Any]]) -> None:
    parts, error = waiting["stall"].result()
    assert b"".join(parts) == b"first"
    assert error.response["Error"]["Code"] == "ModelStreamError"
    assert "within the time allowed" in str(error)


def test_a_model_that_takes_longer_to_load_than_a_request_may(
    runtime: Any, waiting: dict[str, Future[Any]]
) -> None:
    """It goes on loading, and is there for a later request."""
    found = waiting["slow"].result()
    assert found["Error"]["Code"] == "ModelNotReadyException"
    assert found["ResponseMetadata"]["HTTPStatusCode"] == 429
    again = outcome(runtime.invoke_endpoint, EndpointName="many", TargetModel="model.tar.gz", Body=b"")
    assert again["Body"] == b"loaded"


def test_a_container_that_is_not_healthy_in_time(sagemaker: LocalSageMaker) -> None:
    client = sagemaker.client("sagemaker")
    with pytest.raises(WaiterError):
        client.get_waiter("endpoint_in_service").wait(EndpointName="unhealthy")
    described = client.describe_endpoint(EndpointName="unhealthy")
    assert described["EndpointStatus"] == "Failed"
    assert "did not pass the ping health check" in described["FailureReason"]
    sagemaker.delete_endpoint("unhealthy")
