"""Endpoints over real stacks: pipelines, variants, shadows, serverless limits, more models than memory."""

from __future__ import annotations

import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from integration.conftest import linked
from support.local_sagemaker import IMAGE, ROLE, LocalSageMaker, variant, wait_for

ONE_WORKER: dict[str, Any] = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
CSV_TO_JSON = """
import json


def handler(data, context):
    return json.dumps({"instances": [float(field) for field in data.read().split(b",")]}), "application/json"
"""
SLEEPER = """
import time


def handler(data, context):
    time.sleep(float(data.read()))
    return "slept", "text/plain"
"""
LARGE = """
BALLAST = b"x" * 150 * 2**20


def handler(data, context):
    return "large", "text/plain"
"""
REQUEST = {"Body": b'{"instances": [2.0]}', "ContentType": "application/json"}


@pytest.fixture(scope="module")
def made_models(
    sagemaker: LocalSageMaker,
    two_and_three: tuple[Path, Path],
    models: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """In S3 and as models: two (2.0 → 3.0), three (2.0 → 4.0), and code that rewrites, sleeps, or takes memory."""
    for name, directory in zip(("two", "three"), two_and_three, strict=True):
        sagemaker.create_model(name, directory, **ONE_WORKER)
    for name, code in (("rewriter", CSV_TO_JSON), ("sleeper", SLEEPER), ("large", LARGE)):
        directory = linked(tmp_path_factory.mktemp(name), models, "half_plus_two")
        (directory / "code").mkdir()
        (directory / "code" / "inference.py").write_text(code)
        sagemaker.create_model(name, directory, **ONE_WORKER)


def log_lines(sagemaker: LocalSageMaker, endpoint: str, stream: str = "") -> list[str]:
    """What the containers of an endpoint have printed, those of one variant if `stream` begins with its name."""
    found = sagemaker.client("logs").filter_log_events(
        logGroupName=f"/aws/sagemaker/Endpoints/{endpoint}", limit=10_000
    )
    return [event["message"] for event in found["events"] if event["logStreamName"].startswith(stream)]


def test_a_pipeline(sagemaker: LocalSageMaker, made_models: None) -> None:
    """A container that makes JSON of CSV, and one that predicts; each has a port and a range of ports of its own."""
    sagemaker.client("sagemaker").create_model(
        ModelName="pipeline",
        ExecutionRoleArn=ROLE,
        Containers=[
            {"Image": IMAGE, "ModelDataUrl": f"s3://models/{name}/model.tar.gz", "Environment": ONE_WORKER}
            for name in ("rewriter", "three")
        ],
    )
    sagemaker.serve("pipeline", variant("pipeline"))
    runtime = sagemaker.client("sagemaker-runtime")
    answer = runtime.invoke_endpoint(EndpointName="pipeline", Body=b"2.0,4.0", ContentType="text/csv")
    assert json.loads(answer["Body"].read())["predictions"] == [4.0, 5.0]
    with pytest.raises(runtime.exceptions.ModelError) as error:
        runtime.invoke_endpoint(EndpointName="pipeline", Body=b"no number", ContentType="text/csv")
    assert error.value.response["OriginalStatusCode"] == 500
    assert "could not convert string to float" in error.value.response["OriginalMessage"]
    sagemaker.delete_endpoint("pipeline")


def test_two_variants_share_the_traffic_by_weight(sagemaker: LocalSageMaker, made_models: None) -> None:
    """By chi-square with one degree of freedom: 15.1 is passed by chance once in ten thousand runs."""
    sagemaker.serve("split", variant("two", InitialVariantWeight=3.0), variant("three"))
    runtime, count = sagemaker.client("sagemaker-runtime"), 300
    seen: Counter[tuple[str, float]] = Counter()
    for _ in range(count):
        answer = runtime.invoke_endpoint(EndpointName="split", **REQUEST)
        seen[answer["InvokedProductionVariant"], json.loads(answer["Body"].read())["predictions"][0]] += 1
    expected = {("two", 3.0): count * 0.75, ("three", 4.0): count * 0.25}
    assert seen.keys() == expected.keys()
    assert sum((seen[which] - times) ** 2 / times for which, times in expected.items()) < 15.1
    answer = runtime.invoke_endpoint(EndpointName="split", TargetVariant="three", **REQUEST)
    assert json.loads(answer["Body"].read())["predictions"] == [4.0]
    sagemaker.delete_endpoint("split")


def test_two_machines_of_a_model_that_is_not_packed(
    sagemaker: LocalSageMaker, made_models: None, models: Path
) -> None:
    """Its files lie below a prefix; the second machine comes later, and they take requests in turn."""
    version = models / "half_plus_two" / "123"
    for path in version.rglob("*"):
        if path.is_file():
            key = f"plain/half_plus_two/123/{path.relative_to(version)}"
            sagemaker.client("s3").upload_file(str(path), "models", key)
    source = {"S3Uri": "s3://models/plain/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    client, runtime = sagemaker.client("sagemaker"), sagemaker.client("sagemaker-runtime")
    client.create_model(
        ModelName="plain",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={
            "Image": IMAGE,
            "ModelDataSource": {"S3DataSource": source},
            "Environment": ONE_WORKER,
        },
    )
    sagemaker.serve("machines", variant("plain"))
    client.update_endpoint_weights_and_capacities(
        EndpointName="machines",
        DesiredWeightsAndCapacities=[{"VariantName": "plain", "DesiredInstanceCount": 2}],
    )
    client.get_waiter("endpoint_in_service").wait(EndpointName="machines")
    [described] = client.describe_endpoint(EndpointName="machines")["ProductionVariants"]
    assert described["CurrentInstanceCount"] == 2
    for _ in range(6):
        answer = runtime.invoke_endpoint(EndpointName="machines", **REQUEST)
        assert json.loads(answer["Body"].read())["predictions"] == [3.0]
    group = "/aws/sagemaker/Endpoints/machines"
    streams = sagemaker.client("logs").describe_log_streams(logGroupName=group)["logStreams"]
    assert len(streams) == 2
    wait_for(
        lambda: (
            [
                sum(
                    '"POST /invocations' in line
                    for line in log_lines(sagemaker, "machines", stream["logStreamName"])
                )
                for stream in streams
            ]
            == [3, 3]
        ),
        "three requests in the log of each machine",
    )
    sagemaker.delete_endpoint("machines")


def test_a_serverless_variant_and_its_shadow(sagemaker: LocalSageMaker, made_models: None) -> None:
    """The shadow gets a copy of each request; the client waits for its own variant, and is refused above its limit."""
    sagemaker.serve(
        "limited",
        variant("sleeper", ServerlessConfig={"MemorySizeInMB": 1024, "MaxConcurrency": 1}),
        ShadowProductionVariants=[variant("two")],
    )
    runtime = sagemaker.client("sagemaker-runtime")
    answer = runtime.invoke_endpoint(EndpointName="limited", Body=b"0", ContentType="text/csv")
    assert answer["InvokedProductionVariant"] == "sleeper"
    assert answer["Body"].read() == b"slept"

    wait_for(
        lambda: any('"POST /invocations' in line for line in log_lines(sagemaker, "limited", "two/")),
        "the shadow's request",
    )

    def outcome(_: int) -> str:
        try:
            slow = runtime.invoke_endpoint(EndpointName="limited", Body=b"0.5", ContentType="text/csv")
        except runtime.exceptions.ClientError as error:
            return str(error.response["Error"]["Code"])
        return str(slow["Body"].read().decode())

    outcomes: Counter[str] = Counter()
    with ThreadPoolExecutor(2) as threads:
        while outcomes.total() < 100 and len(outcomes) < 2:  # two may miss each other on a busy machine
            outcomes.update(threads.map(outcome, range(2)))
    assert outcomes.keys() == {"slept", "ThrottlingException"}
    sagemaker.delete_endpoint("limited")


def test_more_models_than_memory(sagemaker: LocalSageMaker, made_models: None) -> None:
    """The container says 507 by its memory's limit, the least recently used model goes, and is back when asked for."""
    for target in (0, 1, 2, 3, "two", "three"):
        source = {"Bucket": "models", "Key": f"{target if isinstance(target, str) else 'large'}/model.tar.gz"}
        sagemaker.client("s3").copy_object(Bucket="models", Key=f"many/{target}", CopySource=source)
    sagemaker.client("sagemaker").create_model(
        ModelName="many",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={
            "Image": IMAGE,
            "ModelDataUrl": "s3://models/many/",
            "Mode": "MultiModel",
            # for two of them, or three
            "Environment": {**ONE_WORKER, "SAGEMAKER_TFS_MEMORY_LIMIT_MB": "700"},
        },
    )
    sagemaker.serve("many", variant("many"))
    runtime = sagemaker.client("sagemaker-runtime")
    for number in (0, 1, 0, 2, 3, 1):
        answer = runtime.invoke_endpoint(
            EndpointName="many", TargetModel=str(number), Body=b"", ContentType="text/csv"
        )
        assert answer["Body"].read() == b"large"
    for target, expected in (("two", 3.0), ("three", 4.0), ("two", 3.0)):
        answer = runtime.invoke_endpoint(EndpointName="many", TargetModel=target, **REQUEST)
        assert json.loads(answer["Body"].read())["predictions"] == [expected]

    def models_that(pattern: str) -> list[str]:
        return re.findall(pattern, "\n".join(log_lines(sagemaker, "many")))

    wait_for(lambda: len(models_that(r"Model (\w+) is unloaded")) > 1, "two models are unloaded")
    loaded = models_that(r"Model (\w+) is loaded from")
    assert models_that(r"Model (\w+) is unloaded")[:2] == [loaded[1], loaded[0]]
    wait_for(lambda: models_that(r'("POST /models HTTP/1.1" 507)'), "a refusal in the access log")
    sagemaker.delete_endpoint("many")
