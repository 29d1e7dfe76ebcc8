"""InvokeEndpoint over stub containers: headers both ways, targets, errors, limits, streams, many models, pipelines."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tfsd.sagemaker import runtime
from tfsd.sagemaker.endpoints.endpoint import Invocation
from tfsd.sagemaker.errors import ModelError

from .conftest import IMAGE, ROLE, Api, archive, wait_for


def refusal(api: Api, name: str, body: bytes = b"hello", **more: Any) -> dict[str, Any]:
    """The error that an invocation is answered with."""
    with pytest.raises(ClientError) as error:
        api.invoke(name, body, **more)
    response: dict[str, Any] = error.value.response
    return response


def test_headers_reach_the_container_and_the_client(api: Api) -> None:
    api.make_model("m")
    api.make_endpoint("e", {"ModelName": "m"})
    answer = api.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="e",
        Body=b"1,2",
        ContentType="text/csv",
        Accept="application/json",
        CustomAttributes="tfs-model-name=a",
        TargetVariant="m",
        InferenceId="id-1",
        SessionId="NEW_SESSION",
    )
    assert answer["ContentType"] == "application/json"
    assert answer["InvokedProductionVariant"] == "m"
    assert answer["CustomAttributes"] == "from=container"
    assert answer["NewSessionId"] == "abc; Expires=2030-01-01T00:00:00Z"
    said = api.invoke("e", b"x", ContentType="text/csv", InferenceId="id-1", CustomAttributes="a=b")
    assert said["headers"]["content-type"] == "text/csv"
    assert said["headers"]["x-amzn-sagemaker-inference-id"] == "id-1"
    assert said["headers"]["x-amzn-sagemaker-custom-attributes"] == "a=b"


@pytest.mark.parametrize(("status", "side"), [(400, "client"), (415, "client"), (500, "server")])
def test_an_error_of_the_container_is_a_model_error(api: Api, status: int, side: str) -> None:
    api.make_model("m")
    api.make_endpoint("e", {"ModelName": "m"})
    error = refusal(api, "e", f"status {status}".encode())
    assert error["Error"]["Code"] == "ModelError"
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert error["OriginalStatusCode"] == status
    assert error["OriginalMessage"] == '{"error": "as you wish"}'
    assert error["LogStreamArn"].startswith(
        "arn:aws:logs:us-west-2:123456789012:log-group:/aws/sagemaker/Endpoints/e:log-stream:m/i-"
    )
    assert error["Error"]["Message"].startswith(
        f'Received {side} error ({status}) from primary with message "{{"error": "as you wish"}}". See https://'
    )


def test_an_answer_that_is_cut_short_is_a_model_error(api: Api) -> None:
    api.make_model("m")
    api.make_endpoint("e", {"ModelName": "m"})
    error = refusal(api, "e", b"short")
    assert error["Error"]["Code"] == "ModelError"
    assert error["OriginalMessage"] == "The container closed the connection before the end of its response."
    assert api.invoke("e")["body"] == "hello"


def test_what_cannot_be_invoked(api: Api) -> None:
    api.make_model("m")
    api.make_endpoint("e", {"ModelName": "m"})
    assert refusal(api, "none")["Error"] == {
        "Code": "ValidationError",
        "Message": "Endpoint none of account 123456789012 not found.",
    }
    for more in ({"TargetVariant": "x"}, {"TargetModel": "x"}, {"TargetContainerHostname": "x"}):
        assert refusal(api, "e", b"", **more)["Error"]["Code"] == "ValidationError"
    large = refusal(api, "e", b"x" * (6 * 1024 * 1024 + 1))
    assert large["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert large["Error"]["Message"] == "HTTP content length exceeded 6291456 bytes."
    died = refusal(api, "e", b"die")
    assert (died["Error"]["Code"], died["OriginalStatusCode"]) == ("ModelError", 0)


def test_a_stream_has_a_part_for_each_piece(api: Api) -> None:
    api.make_model("m")
    api.make_endpoint("e", {"ModelName": "m"})
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/endpoints/e/invocations-response-stream",
        "HTTP_AUTHORIZATION": "AWS4-HMAC-SHA256 Credential=a/20260101/us-west-2/sagemaker/aws4_request, x",
        "wsgi.input": io.BytesIO(b"stream 3"),
    }
    started: list[Any] = []
    pieces = list(api.application(environ, lambda *given: started.extend(given)))
    assert dict(started[1])["Content-Type"] == "application/vnd.amazon.eventstream"
    assert "Content-Length" not in dict(started[1])
    parts = [piece for piece in pieces if b"PayloadPart" in piece]
    assert [b"piece %d" % number in part for number, part in enumerate(parts)] == [True, True, True]


def make_multi_model(api: Api, count: int, **environment: str) -> None:
    for number in range(count):
        api.put("many", f"prefix/{number}.tar.gz", archive(str(number)))
    api.client("sagemaker").create_model(
        ModelName="many",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={
            "Image": IMAGE,
            "ModelDataUrl": "s3://many/prefix/",
            "Mode": "MultiModel",
            "Environment": environment,
        },
    )
    api.make_endpoint("e", {"ModelName": "many"})


def test_more_models_than_there_is_room_for(api: Api) -> None:
    make_multi_model(api, 4, STUB_CAPACITY="2")
    paths = [api.invoke("e", TargetModel=f"{number}.tar.gz")["path"] for number in (0, 1, 2, 3, 0)]
    assert paths[0] == paths[4]
    assert len(set(paths)) == 4
    endpoint = api.emulator.endpoints.find("e")
    assert endpoint
    assert endpoint.deployment
    [cache] = endpoint.deployment.variants["many"].caches.values()
    assert ("3.tar.gz" in cache, "0.tar.gz" in cache, "1.tar.gz" in cache) == (True, True, False)
    [directory] = (api.directory / "instances").glob("*/0/ml/models")
    assert len(list(directory.iterdir())) == 2


def test_a_model_that_has_changed_is_loaded_anew(api: Api) -> None:
    make_multi_model(api, 1)
    before = api.invoke("e", TargetModel="0.tar.gz")["path"]
    assert api.invoke("e", TargetModel="0.tar.gz")["path"] == before
    api.put("many", "prefix/0.tar.gz", archive("another"))
    assert api.invoke("e", TargetModel="0.tar.gz")["path"] != before


def test_what_a_multi_model_endpoint_refuses(api: Api) -> None:
    make_multi_model(api, 1)
    assert refusal(api, "e")["Error"]["Code"] == "ValidationError"
    missing = refusal(api, "e", TargetModel="x.tar.gz")["Error"]
    assert missing["Code"] == "ValidationError"
    assert missing["Message"].startswith("Failed to download model data(bucket: many, key: prefix/x.tar.gz).")
    api.put("many", "prefix/bad.tar.gz", b"no archive")
    assert "cannot be unpacked" in refusal(api, "e", TargetModel="bad.tar.gz")["Error"]["Message"]
    api.invoke("e", TargetModel="0.tar.gz")


def make_pipeline(api: Api, mode: str | None = None) -> None:
    api.put("models", "m.tar.gz", archive("m"))
    containers = [
        {
            "ContainerHostname": name,
            "Image": IMAGE,
            "ModelDataUrl": "s3://models/m.tar.gz",
            "Environment": {"STUB_NAME": name},
        }
        for name in ("first", "second", "third")
    ]
    more = {"InferenceExecutionConfig": {"Mode": mode}} if mode else {}
    api.client("sagemaker").create_model(ModelName="p", ExecutionRoleArn=ROLE, Containers=containers, **more)
    api.make_endpoint("e", {"ModelName": "p"})


def test_a_pipeline_is_a_chain(api: Api) -> None:
    make_pipeline(api)
    said = api.invoke("e")
    ranges = []
    for name in ("third", "second", "first"):
        assert said["name"] == name
        ranges.append(said["environ"]["SAGEMAKER_SAFE_PORT_RANGE"])
        if name != "first":
            said = json.loads(said["body"])
    assert said["body"] == "hello"
    assert len(set(ranges)) == 3


def test_a_container_of_a_pipeline_is_invoked_directly(api: Api) -> None:
    make_pipeline(api, "Direct")
    said = api.invoke("e", TargetContainerHostname="second")
    assert (said["name"], said["body"]) == ("second", "hello")
    assert refusal(api, "e")["Error"]["Code"] == "ValidationError"


def test_an_endpoint_that_is_being_created_is_waited_for(api: Api) -> None:
    api.make_model("m", STUB_NAME="m")
    api.make_config("c", {"ModelName": "m"})
    api.client("sagemaker").create_endpoint(EndpointName="e", EndpointConfigName="c")
    assert api.invoke("e")["name"] == "m"
    wait_for(lambda: api.describe("e")["EndpointStatus"] == "InService")


def test_an_endpoint_that_is_not_in_service_says_so(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "HOLD_SECONDS", 0)
    api.make_model("slow", STUB_UNHEALTHY="1")
    api.make_model("bad", STUB_REFUSES="no")
    for name in ("slow", "bad"):
        api.make_config(name, {"ModelName": name})
        api.client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=name)
    wait_for(
        lambda: api.client("sagemaker").list_endpoints(StatusEquals="Failed")["Endpoints"], "the failure"
    )
    for name, status in (("slow", "Creating"), ("bad", "Failed")):
        with pytest.raises(ClientError, match=f"{name} of account .* not found. Its status is {status}, not"):
            api.invoke(name)


def test_a_container_has_its_time(api: Api) -> None:
    api.make_model("m")
    api.make_endpoint("e", {"ModelName": "m"})
    endpoint = api.emulator.endpoints.find("e")
    assert endpoint
    with pytest.raises(ModelError) as error:
        endpoint.invoke(Invocation(b"sleep 30", {}, seconds=0.3))
    assert error.value.members["OriginalStatusCode"] == 0
    assert "Your invocation timed out while waiting for a response" in error.value.message
