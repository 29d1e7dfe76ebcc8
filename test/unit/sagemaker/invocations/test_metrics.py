"""Metrics as a client of CloudWatch sees them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import boto3
import moto
import pytest
from moto.backends import get_backend

from tfsd.sagemaker.invocations.metrics import Metrics

ACCOUNT = "123456789012"


@pytest.fixture
def cloudwatch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "local")
    with moto.mock_aws():
        yield boto3.client("cloudwatch", "us-east-1")


def statistics(cloudwatch: Any, name: str) -> dict[str, float]:
    now = datetime.datetime.now(datetime.UTC)
    points = cloudwatch.get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName=name,
        Dimensions=[{"Name": "EndpointName", "Value": "e"}, {"Name": "VariantName", "Value": "v"}],
        StartTime=now - datetime.timedelta(minutes=5),
        EndTime=now + datetime.timedelta(minutes=5),
        Period=900,
        Statistics=["Sum", "Minimum", "Maximum", "SampleCount"],
    )["Datapoints"]
    return {
        key: sum(point[key] for point in points) if key in ("Sum", "SampleCount") else points[0][key]
        for key in ("Sum", "Minimum", "Maximum", "SampleCount")
    }


def test_invocations_add_up_in_one_data_point_a_minute(cloudwatch: Any) -> None:
    metrics = Metrics(get_backend("cloudwatch"), ACCOUNT)
    for status in [200] * 7 + [400, 500, 503]:
        metrics.invocation(
            "us-east-1",
            "e",
            "v",
            "c",
            status=status,
            instances=2,
            model_seconds=0.002,
            overhead_seconds=0.0005,
        )
    sums = {name: statistics(cloudwatch, name)["Sum"] for name in ("Invocations", "InvocationsPerInstance")}
    assert sums == {"Invocations": 10, "InvocationsPerInstance": 5}
    assert statistics(cloudwatch, "Invocation4XXErrors")["Sum"] == 1
    assert statistics(cloudwatch, "Invocation5XXErrors")["Sum"] == 2
    latency = statistics(cloudwatch, "ModelLatency")
    assert latency["Sum"] == pytest.approx(20_000)
    assert latency["SampleCount"] == 10
    assert (
        len(get_backend("cloudwatch")[ACCOUNT]["us-east-1"].metric_data) <= 2 * 2 * 7
    )  # a minute may have passed


def test_endpoints_and_regions_are_kept_apart(cloudwatch: Any) -> None:
    metrics = Metrics(get_backend("cloudwatch"), ACCOUNT)
    for region, endpoint in (("us-east-1", "e"), ("us-east-1", "other"), ("eu-west-1", "e")):
        metrics.invocation(
            region, endpoint, "v", "c", status=200, instances=1, model_seconds=0.1, overhead_seconds=0.1
        )
    assert statistics(cloudwatch, "Invocations")["Sum"] == 1
