"""What a DeploymentConfig means: steps, pauses, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytest.importorskip("boto3")

from tfsd.sagemaker.endpoints.rollout import Rollout, instances, planned
from tfsd.sagemaker.errors import ValidationException

FOUR = [{"VariantName": "v", "InitialInstanceCount": 4}]


def percent(value: int) -> dict[str, Any]:
    return {"Type": "CAPACITY_PERCENT", "Value": value}


def count(value: int) -> dict[str, Any]:
    return {"Type": "INSTANCE_COUNT", "Value": value}


def blue_green(kind: str, wait: int = 5, **more: Any) -> dict[str, Any]:
    routing = {"Type": kind, "WaitIntervalInSeconds": wait, **more}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": 7}}


def rolling(**more: Any) -> dict[str, Any]:
    return {"RollingUpdatePolicy": {"WaitIntervalInSeconds": 3, **more}}


def plan(config: dict[str, Any] | None, variants: list[dict[str, Any]] = FOUR) -> Rollout:
    return planned(config, variants, variants)


def test_nothing_said_is_all_at_once() -> None:
    assert plan(None) == plan({}) == Rollout(shares=(1.0,), wait=0, termination_wait=0, limit=math.inf)
    alarms = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}, {"AlarmName": "b"}]}}
    assert plan(alarms) == Rollout(alarms=("a", "b"))


@pytest.mark.parametrize(
    ("config", "shares"),
    [
        (blue_green("ALL_AT_ONCE"), [1]),
        (blue_green("CANARY", CanarySize=percent(5)), [0.05, 1]),
        (blue_green("CANARY", CanarySize=count(2)), [0.5, 1]),
        (blue_green("LINEAR", LinearStepSize=percent(50)), [0.5, 1]),
        (blue_green("LINEAR", LinearStepSize=percent(30)), [0.3, 0.6, 0.9, 1]),
        (blue_green("LINEAR", LinearStepSize=count(1)), [0.25, 0.5, 0.75, 1]),
        (rolling(MaximumBatchSize=count(1)), [0.25, 0.5, 0.75, 1]),
    ],
    ids=["at-once", "canary", "canary-count", "linear-half", "linear-rest", "linear-count", "rolling"],
)
def test_steps(config: dict[str, Any], shares: list[float]) -> None:
    rollout = plan(config)
    assert rollout.shares == pytest.approx(shares)
    assert (rollout.wait, rollout.termination_wait) == ((3, 0) if rollout.rolling else (5, 7))
    assert rollout.rolling == ("RollingUpdatePolicy" in config)


def test_ten_steps_of_a_tenth_end_at_one() -> None:
    rollout = plan(blue_green("LINEAR", LinearStepSize=percent(10)))
    assert (len(rollout.shares), rollout.shares[-1]) == (10, 1.0)


@pytest.mark.parametrize("step", [0.1, 0.2, 0.25, 0.3, 0.5])
@pytest.mark.parametrize("total", [1, 3, 4, 7, 10])
def test_instances_are_rounded_up_and_end_whole(step: float, total: int) -> None:
    running = [instances(min(number * step, 1.0), total) for number in range(1, math.ceil(1 / step) + 1)]
    assert running == sorted(running)
    assert running[0] >= 1
    assert running[-1] == total
    assert instances(0.0, total) == 0


def test_the_way_back() -> None:
    assert list(Rollout().way_back(1.0)) == [0.0]
    batches = plan(rolling(MaximumBatchSize=count(2), RollbackMaximumBatchSize=percent(25)))
    assert list(batches.way_back(0.5)) == [0.25, 0.0]
    assert list(plan(rolling(MaximumBatchSize=count(2))).way_back(0.5)) == [0.0]


@pytest.mark.parametrize(
    "variants",
    [
        [{"VariantName": "a", "InitialInstanceCount": 2}, {"VariantName": "b", "InitialInstanceCount": 2}],
        [{"VariantName": "v", "ServerlessConfig": {"MaxConcurrency": 1, "MemorySizeInMB": 1024}}],
    ],
    ids=["two-variants", "serverless"],
)
def test_what_cannot_roll_goes_at_once(variants: list[dict[str, Any]]) -> None:
    assert plan(rolling(MaximumBatchSize=percent(50)), variants) == Rollout()


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (blue_green("CANARY"), "needs CanarySize"),
        (blue_green("LINEAR"), "needs LinearStepSize"),
        (blue_green("CANARY", CanarySize=percent(51)), "CanarySize must be at most 50 %"),
        (blue_green("CANARY", CanarySize=count(3)), "3 is 75 %"),
        (blue_green("LINEAR", LinearStepSize=percent(9)), "between 10 and 50 %"),
        (rolling(MaximumBatchSize=percent(4)), "between 5 and 50 %"),
        (rolling(MaximumBatchSize=percent(50), RollbackMaximumBatchSize=count(5)), "at most 100 %"),
        ({**blue_green("ALL_AT_ONCE"), **rolling(MaximumBatchSize=percent(50))}, "or a RollingUpdatePolicy"),
    ],
    ids=["no-canary", "no-step", "51", "3-of-4", "9", "4", "back", "both"],
)
def test_what_is_refused(config: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationException, match=text):
        plan(config)


def test_variants_keep_their_names() -> None:
    with pytest.raises(ValidationException, match="the endpoint has v, its new configuration w"):
        planned(blue_green("ALL_AT_ONCE"), FOUR, [{"VariantName": "w", "InitialInstanceCount": 4}])
