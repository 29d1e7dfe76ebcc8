"""Transform jobs as boto3 sees them: the four operations, waiters, logs; containers are stubs."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("boto3")

from botocore.exceptions import ClientError


def asked(name: str, **more: Any) -> dict[str, Any]:
    """CreateTransformJob's request for s3://in/data/."""
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://in-bucket/data/"}
    return {
        "TransformJobName": name,
        "ModelName": "stub",
        "TransformInput": {"DataSource": {"S3DataSource": source}, "ContentType": "text/plain"},
        "TransformOutput": {"S3OutputPath": "s3://out-bucket/results"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        **more,
    }


@pytest.fixture
def client(api: Any) -> Any:
    """SageMaker's client, with a model and an object to transform."""
    api.make_model("stub", STUB_NAME="one")
    api.put("in-bucket", "data/a", b"hello")
    api.put("out-bucket", "other", b"")
    return api.client("sagemaker")


def keys(api: Any) -> list[str]:
    listed = api.client("s3").list_objects_v2(Bucket="out-bucket", Prefix="results")
    return [found["Key"] for found in listed.get("Contents", [])]


def test_a_job_from_its_request_to_its_output(api: Any, client: Any) -> None:
    created = client.create_transform_job(
        **asked("job", MaxConcurrentTransforms=2, Environment={"MINE": "yes"}, BatchStrategy="MultiRecord")
    )
    client.get_waiter("transform_job_completed_or_stopped").wait(TransformJobName="job")
    described = client.describe_transform_job(TransformJobName="job")
    assert described["TransformJobStatus"] == "Completed"
    assert described["TransformJobArn"] == created["TransformJobArn"]
    assert described["TransformJobArn"].endswith(":transform-job/job")
    assert described["TransformEndTime"] >= described["TransformStartTime"]
    assert described["Environment"] == {"MINE": "yes"}
    assert keys(api) == ["results/a.out"]
    said = json.loads(api.client("s3").get_object(Bucket="out-bucket", Key="results/a.out")["Body"].read())
    assert (said["path"], said["body"], said["headers"]["content-type"]) == (
        "/invocations",
        "hello",
        "text/plain",
    )
    environ = said["environ"]
    assert (environ["SAGEMAKER_BATCH"], environ["MINE"], environ["STUB_NAME"]) == ("true", "yes", "one")
    assert environ["SAGEMAKER_BATCH_STRATEGY"] == "MULTI_RECORD"
    assert environ["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] == "2"
    assert "SAGEMAKER_MAX_PAYLOAD_IN_MB" not in environ


def test_its_log_streams_are_found_by_its_name(api: Any, client: Any) -> None:
    client.create_transform_job(**asked("job"))
    client.get_waiter("transform_job_completed_or_stopped").wait(TransformJobName="job")
    logs = api.client("logs")
    group = {"logGroupName": "/aws/sagemaker/TransformJobs"}
    streams = logs.describe_log_streams(**group, logStreamNamePrefix="job/")["logStreams"]
    (name,) = [stream["logStreamName"] for stream in streams if stream["logStreamName"].endswith("/data-log")]
    (event,) = logs.get_log_events(**group, logStreamName=name)["events"]
    assert event["message"].endswith(
        "[sagemaker logs]: MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD"
    )


def test_a_job_that_fails_says_why(api: Any, client: Any) -> None:
    api.put("in-bucket", "data/b", b"status 415")
    client.create_transform_job(**asked("job"))
    described = client.describe_transform_job(TransformJobName="job")
    assert described["TransformJobStatus"] == "Failed"
    assert "s3://in-bucket/data/b: Bad HTTP status received from algorithm: 415" in described["FailureReason"]
    assert keys(api) == ["results/a.out"]


def test_a_container_that_does_not_start_is_the_reason(api: Any, client: Any) -> None:
    api.make_model("broken", STUB_REFUSES="there is no model")
    client.create_transform_job(**{**asked("job"), "ModelName": "broken"})
    reason = client.describe_transform_job(TransformJobName="job")["FailureReason"]
    assert reason.startswith("AlgorithmError: The primary container for transform job job ended before")
    assert "there is no model" in reason


def test_stopping(api: Any, client: Any) -> None:
    client.create_transform_job(**asked("job"))
    client.stop_transform_job(TransformJobName="job")
    described = client.describe_transform_job(TransformJobName="job")
    assert described["TransformJobStatus"] == "Stopped"
    client.stop_transform_job(TransformJobName="job")
    assert client.describe_transform_job(TransformJobName="job")["TransformJobStatus"] == "Stopped"
    assert not keys(api)


def test_lists(client: Any) -> None:
    for name in ("one", "two", "three"):
        client.create_transform_job(**asked(name))
        client.get_waiter("transform_job_completed_or_stopped").wait(TransformJobName=name)
    client.create_transform_job(
        **{**asked("bad"), "TransformOutput": {"S3OutputPath": "s3://no-such-bucket/x"}}
    )
    assert client.describe_transform_job(TransformJobName="bad")["TransformJobStatus"] == "Failed"

    def listed(**how: Any) -> list[str]:
        found = client.list_transform_jobs(**how)["TransformJobSummaries"]
        return [summary["TransformJobName"] for summary in found]

    assert listed() == ["bad", "three", "two", "one"]
    assert listed(StatusEquals="Failed") == ["bad"]
    assert listed(NameContains="o", SortBy="Name", SortOrder="Ascending") == ["one", "two"]
    pages = client.get_paginator("list_transform_jobs").paginate(PaginationConfig={"PageSize": 3})
    assert [len(page["TransformJobSummaries"]) for page in pages] == [3, 1]


@pytest.mark.parametrize("operation", ["describe_transform_job", "stop_transform_job"])
def test_a_job_that_is_not_there(client: Any, operation: str) -> None:
    with pytest.raises(ClientError, match="Could not find transform job") as caught:
        getattr(client, operation)(TransformJobName="gone")
    assert caught.value.response["Error"]["Code"] == "ValidationException"


@pytest.mark.parametrize(
    ("more", "code", "text"),
    [
        ({"TransformJobName": "job"}, "ResourceInUse", "must be unique"),
        ({"ModelName": "gone"}, "ValidationException", "Could not find model"),
        ({"MaxPayloadInMB": 101}, "ValidationException", "at most 100"),
        (
            {"BatchStrategy": "AllOfThem"},
            "ValidationException",
            "enum value set: [MultiRecord, SingleRecord]",
        ),
    ],
)
def test_what_is_refused(client: Any, more: dict[str, Any], code: str, text: str) -> None:
    client.create_transform_job(**asked("job"))
    with pytest.raises(ClientError) as caught:
        client.create_transform_job(**{**asked("other"), **more})
    assert caught.value.response["Error"]["Code"] == code
    assert text in caught.value.response["Error"]["Message"]


def test_a_job_that_was_cut_off_has_failed_after_a_restart(api: Any, client: Any) -> None:
    client.create_transform_job(**asked("done"))
    client.get_waiter("transform_job_completed_or_stopped").wait(TransformJobName="done")
    client.create_transform_job(**asked("job"))
    api.restart()
    described = client.describe_transform_job(TransformJobName="job")
    assert described["TransformJobStatus"] == "Failed"
    assert "was stopped while the job ran" in described["FailureReason"]
    assert client.describe_transform_job(TransformJobName="done")["TransformJobStatus"] == "Completed"
