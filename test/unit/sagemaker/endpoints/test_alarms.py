"""Alarms over moto's CloudWatch: the state that a script sets, and the state that a metric has."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest

boto3 = pytest.importorskip("boto3")
moto = pytest.importorskip("moto")

from moto.backends import get_backend  # noqa: E402

from tfsd.sagemaker.endpoints.alarms import Alarms  # noqa: E402
from tfsd.sagemaker.errors import ValidationException  # noqa: E402
from tfsd.sagemaker.state import ACCOUNT  # noqa: E402

REGION = "us-west-2"
NOW = datetime.datetime(2030, 1, 1, 12, 0, 30)
DIMENSIONS = [{"Name": "EndpointName", "Value": "e"}, {"Name": "VariantName", "Value": "v"}]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Made once: that takes longer than all that it is asked."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "local")
        with moto.mock_aws():
            yield boto3.client("cloudwatch", REGION)


@pytest.fixture
def cloudwatch(client: Any) -> Iterator[Any]:
    """Without alarms and values."""
    yield client
    get_backend("cloudwatch").reset()


@pytest.fixture
def alarms(cloudwatch: Any) -> Alarms:
    return Alarms(get_backend("cloudwatch"), ACCOUNT, lambda: NOW)


def put_alarm(cloudwatch: Any, **more: Any) -> None:
    cloudwatch.put_metric_alarm(
        **{
            "AlarmName": "errors",
            "Namespace": "AWS/SageMaker",
            "MetricName": "Invocation5XXErrors",
            "Dimensions": DIMENSIONS,
            "Statistic": "Average",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 0.5,
            "ComparisonOperator": "GreaterThanThreshold",
            **more,
        }
    )


def put_values(cloudwatch: Any, *values: float, minutes_ago: int = 0) -> None:
    moment = NOW.replace(second=0, tzinfo=datetime.UTC) - datetime.timedelta(minutes=minutes_ago)
    data = [
        {
            "MetricName": "Invocation5XXErrors",
            "Dimensions": DIMENSIONS,
            "Timestamp": moment,
            "Value": value,
            "Unit": "None",
        }
        for value in values
    ]
    cloudwatch.put_metric_data(Namespace="AWS/SageMaker", MetricData=data)


def test_an_alarm_that_somebody_sets(cloudwatch: Any, alarms: Alarms) -> None:
    put_alarm(cloudwatch)
    assert alarms.tripped(REGION, ["errors"]) is None
    cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="I say so")
    for _ in range(2):  # it stays so, whatever the metric says
        assert alarms.tripped(REGION, ["errors"]) == (
            "The CloudWatch alarm errors is in the state ALARM: I say so"
        )
    cloudwatch.set_alarm_state(AlarmName="errors", StateValue="OK", StateReason="better")
    assert alarms.tripped(REGION, ["errors"]) is None


def test_an_alarm_follows_its_metric(cloudwatch: Any, alarms: Alarms) -> None:
    put_alarm(cloudwatch)
    put_values(cloudwatch, 1, 0)
    assert alarms.tripped(REGION, ["errors"]) is None
    put_values(cloudwatch, 1)
    reason = alarms.tripped(REGION, ["errors"])
    assert reason is not None
    assert "Average of Invocation5XXErrors is > 0.5 in 1 of 1 periods (0.666667)" in reason
    [described] = cloudwatch.describe_alarms(AlarmNames=["errors"])["MetricAlarms"]
    assert described["StateValue"] == "ALARM"
    put_values(cloudwatch, 0, 0, 0)
    assert alarms.tripped(REGION, ["errors"]) is None
    [described] = cloudwatch.describe_alarms(AlarmNames=["errors"])["MetricAlarms"]
    assert described["StateValue"] == "OK"


@pytest.mark.parametrize(
    ("minutes_ago", "more", "trips"),
    [
        ([0, 1, 2], {}, True),
        ([1, 2, 3], {}, True),  # the minute of now has no data yet
        ([0, 2], {}, False),
        ([0, 2], {"DatapointsToAlarm": 2}, True),
        ([0, 2], {"TreatMissingData": "breaching"}, True),
        ([0, 1], {"TreatMissingData": "notBreaching"}, False),
        ([4, 5, 6], {}, False),
        ([0, 1, 2], {"Dimensions": DIMENSIONS[:1]}, False),
        ([0, 1, 2], {"MetricName": "Invocation4XXErrors"}, False),
        ([0, 1, 2], {"ComparisonOperator": "LessThanThreshold"}, False),
        ([0, 1, 2], {"Statistic": "SampleCount", "Threshold": 1.5}, False),
    ],
    ids=[
        "3",
        "3-done",
        "gap",
        "2-of-3",
        "missing-bad",
        "missing-good",
        "past",
        "dims",
        "name",
        "less",
        "count",
    ],
)
def test_periods(
    cloudwatch: Any, alarms: Alarms, minutes_ago: list[int], more: dict[str, Any], trips: bool
) -> None:
    put_alarm(cloudwatch, EvaluationPeriods=3, **more)
    for minute in minutes_ago:
        put_values(cloudwatch, 1, minutes_ago=minute)
    assert bool(alarms.tripped(REGION, ["errors"])) is trips


def test_an_alarm_must_be_there(cloudwatch: Any, alarms: Alarms) -> None:
    put_alarm(cloudwatch)
    alarms.refuse_unknown(REGION, ["errors"])
    with pytest.raises(ValidationException, match="Could not find CloudWatch alarm 'nothing' in us-west-2"):
        alarms.refuse_unknown(REGION, ["errors", "nothing"])
    assert alarms.tripped(REGION, ["nothing"]) is None
