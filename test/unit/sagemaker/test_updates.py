"""Updates with a DeploymentConfig over stub containers: shares of traffic, pauses, batches, and the way back."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tfsd.sagemaker.endpoints import update as update_module
from tfsd.sagemaker.endpoints.endpoint import Invocation

from .conftest import Api, is_alive, wait_for


def pids(api: Api, which: str = "deployment") -> list[int]:
    endpoint = api.emulator.endpoints.find("e")
    deployment = getattr(endpoint, which)
    if deployment is None:
        return []
    return [
        container.pid
        for live in deployment.everything
        for each in live.instances
        for container in each.containers
    ]


def blue_green(kind: str, wait: int = 60, termination_wait: int = 0, **more: Any) -> dict[str, Any]:
    routing = {"Type": kind, "WaitIntervalInSeconds": wait, **more}
    policy = {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": termination_wait}
    return {"BlueGreenUpdatePolicy": policy}


def percent(value: int) -> dict[str, Any]:
    return {"Type": "CAPACITY_PERCENT", "Value": value}


def count(value: int) -> dict[str, Any]:
    return {"Type": "INSTANCE_COUNT", "Value": value}


def watching(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]}}


def prepare(api: Api, instances: int = 1) -> None:
    """An endpoint `e` of the model `old`, and a configuration `c2` of `new`, whose variants have the same name."""
    for name in ("old", "new"):
        api.make_model(name, STUB_NAME=name)
    api.make_endpoint("e", {"VariantName": "v", "ModelName": "old", "InitialInstanceCount": instances})
    api.make_config("c2", {"VariantName": "v", "ModelName": "new", "InitialInstanceCount": instances})


def update(api: Api, config: dict[str, Any] | None = None, **more: Any) -> None:
    given = {"DeploymentConfig": config} if config else {}
    api.client("sagemaker").update_endpoint(EndpointName="e", EndpointConfigName="c2", **given, **more)


def status_of(api: Api) -> str:
    [listed] = api.client("sagemaker").list_endpoints()["Endpoints"]
    return str(listed["EndpointStatus"])


def wait_for_share(api: Api, share: float) -> None:
    endpoint = api.emulator.endpoints.find("e")
    assert endpoint

    def bakes() -> bool:
        described = api.describe("e") if endpoint.successor_share == pytest.approx(share) else {}
        pending = described.get("PendingDeploymentSummary", {}).get("ProductionVariants", [{}])[0]
        return pending.get("VariantStatus", [{}])[0].get("Status") == "Baking"

    wait_for(bakes, f"a share of {share}")


def end_of_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on updates do not wait any more: an hour passes whenever they look at the clock."""
    hours = itertools.count(1)
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600 * next(hours), time=time.time)
    monkeypatch.setattr(update_module, "time", clock)


def put_alarm(api: Api) -> None:
    api.client("cloudwatch").put_metric_alarm(
        AlarmName="errors",
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Dimensions=[
            {"Name": "EndpointName", "Value": "e"},
            {"Name": "VariantName", "Value": "v"},
            {"Name": "EndpointConfigName", "Value": "c2"},
        ],
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=2,
        ComparisonOperator="GreaterThanThreshold",
    )


def trip(api: Api) -> None:
    api.client("cloudwatch").set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="a test")


def test_a_canary_takes_its_share_then_everything(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """By chi-square with one degree of freedom: 15.1 is passed by chance once in ten thousand runs."""
    prepare(api)
    before = pids(api)
    update(api, blue_green("CANARY", CanarySize=percent(25)))
    wait_for_share(api, 0.25)
    described = api.describe("e")  # nobody is held while it bakes
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("Updating", "e")
    pending = described["PendingDeploymentSummary"]
    assert pending["EndpointConfigName"] == "c2"
    assert pending["ProductionVariants"][0]["CurrentInstanceCount"] == 1
    total = 400
    seen = Counter(api.invoke("e")["name"] for _ in range(total))
    assert seen.keys() == {"old", "new"}
    chi_square = sum(
        (seen[name] - total * share) ** 2 / (total * share) for name, share in (("old", 0.75), ("new", 0.25))
    )
    assert chi_square < 15.1
    end_of_wait(monkeypatch)
    wait_for(lambda: status_of(api) == "InService", "the end of the update")
    described = api.describe("e")
    assert described["EndpointConfigName"] == "c2"
    assert "PendingDeploymentSummary" not in described
    assert "VariantStatus" not in described["ProductionVariants"][0]
    assert {api.invoke("e")["name"] for _ in range(5)} == {"new"}
    assert not any(map(is_alive, before))


def test_linear_steps_and_the_wait_before_the_end(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    prepare(api)
    endpoint = api.emulator.endpoints.find("e")
    assert endpoint
    before = pids(api)
    update(api, blue_green("LINEAR", wait=1, termination_wait=60, LinearStepSize=percent(50)))

    def all_moved() -> bool:
        shares.append(endpoint.successor_share)
        return shares[-1] == 1

    wait_for(all_moved, "all traffic")
    assert list(dict.fromkeys(shares)) == [0.0, 0.5, 1.0]
    assert {api.invoke("e")["name"] for _ in range(5)} == {"new"}
    assert all(map(is_alive, before))  # until TerminationWaitInSeconds are over
    end_of_wait(monkeypatch)
    wait_for(lambda: status_of(api) == "InService", "the end of the update")
    assert not any(map(is_alive, before))


def test_a_rolling_update_replaces_by_batches(api: Api) -> None:
    prepare(api, instances=2)
    before = pids(api)
    policy = {"MaximumBatchSize": count(1), "WaitIntervalInSeconds": 1}
    update(api, {"RollingUpdatePolicy": policy})
    running: list[tuple[int, int]] = []

    def updated() -> bool:
        running.append((len(pids(api)), len(pids(api, "successor"))))
        return status_of(api) == "InService"

    wait_for(updated, "the end of the update")
    seen = list(dict.fromkeys(running))
    assert seen[0] == (2, 0)
    assert (2, 2) not in seen[:-1]  # never twice the instances
    assert (1, 1) in seen
    assert len(pids(api)) == 2
    assert not any(map(is_alive, before))
    assert {api.invoke("e")["name"] for _ in range(5)} == {"new"}


@pytest.mark.parametrize("rolling", [False, True], ids=["blue-green", "rolling"])
def test_an_alarm_rolls_back(api: Api, rolling: bool) -> None:
    prepare(api, instances=2)
    put_alarm(api)
    policy = {"MaximumBatchSize": percent(50), "WaitIntervalInSeconds": 60}
    update(
        api,
        watching(
            {"RollingUpdatePolicy": policy} if rolling else blue_green("CANARY", CanarySize=percent(50))
        ),
    )
    wait_for_share(api, 0.5)
    started = pids(api, "successor")
    assert started
    trip(api)
    statuses: list[str] = []

    def rolled_back() -> bool:
        statuses.append(status_of(api))
        return statuses[-1] == "InService"

    wait_for(rolled_back, "the rollback")
    assert set(statuses) <= {"Updating", "RollingBack", "InService"}
    described = api.describe("e")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "e")
    assert described["FailureReason"] == "The CloudWatch alarm errors is in the state ALARM: a test"
    assert described["ProductionVariants"][0]["CurrentInstanceCount"] == 2
    assert {api.invoke("e")["name"] for _ in range(5)} == {"old"}
    assert not any(map(is_alive, started))


def test_a_rollback_by_batches(api: Api) -> None:
    """Half of the new instances run and half of the old are gone, when the alarm goes off."""
    prepare(api, instances=4)
    put_alarm(api)
    policy = {"MaximumBatchSize": count(2), "WaitIntervalInSeconds": 1, "RollbackMaximumBatchSize": count(1)}
    update(api, watching({"RollingUpdatePolicy": policy}))
    wait_for(lambda: len(pids(api)) == 2 and len(pids(api, "successor")) == 4, "the second batch")
    trip(api)
    wait_for(lambda: status_of(api) == "InService", "the rollback")
    assert api.describe("e")["EndpointConfigName"] == "e"
    assert len(pids(api)) == 4
    assert {api.invoke("e")["name"] for _ in range(5)} == {"old"}


def test_errors_of_the_new_instances_alone_roll_back(api: Api) -> None:
    """The alarm of AWS's guide: a metric of the new configuration."""
    prepare(api)
    put_alarm(api)
    for _ in range(5):
        with pytest.raises(ClientError):
            api.client("sagemaker-runtime").invoke_endpoint(EndpointName="e", Body=b"status 500")
    update(api, watching(blue_green("ALL_AT_ONCE")))
    wait_for_share(api, 1.0)
    for _ in range(3):
        with pytest.raises(ClientError):
            api.client("sagemaker-runtime").invoke_endpoint(EndpointName="e", Body=b"status 500")
    wait_for(lambda: status_of(api) == "InService", "the rollback")
    described = api.describe("e")
    assert described["EndpointConfigName"] == "e"
    assert "Sum of Invocation5XXErrors is > 2" in described["FailureReason"]


def test_an_alarm_that_is_on_already_starts_nothing(api: Api) -> None:
    prepare(api)
    put_alarm(api)
    trip(api)
    before = set((api.directory / "instances").iterdir())
    update(api, watching({}))
    described = api.describe("e")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "e")
    assert "errors is in the state ALARM" in described["FailureReason"]
    assert set((api.directory / "instances").iterdir()) == before


def test_an_update_that_takes_too_long_is_rolled_back(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(api)
    config = blue_green("CANARY", wait=3600, CanarySize=percent(10))
    config["BlueGreenUpdatePolicy"]["MaximumExecutionTimeoutInSeconds"] = 600
    update(api, config)
    wait_for_share(api, 0.1)
    end_of_wait(monkeypatch)
    wait_for(lambda: status_of(api) == "InService", "the rollback")
    described = api.describe("e")
    assert described["EndpointConfigName"] == "e"
    assert "longer than MaximumExecutionTimeoutInSeconds (600)" in described["FailureReason"]


def test_a_rollback_that_fails_says_so(api: Api) -> None:
    prepare(api, instances=2)
    put_alarm(api)
    policy = {"MaximumBatchSize": count(1), "WaitIntervalInSeconds": 1}
    update(api, watching({"RollingUpdatePolicy": policy}))
    wait_for(lambda: len(pids(api)) == 1, "the end of the first old instance")
    endpoint = api.emulator.endpoints.find("e")
    assert endpoint
    assert endpoint.deployment
    endpoint.deployment.variants["v"].model["PrimaryContainer"]["Environment"]["STUB_REFUSES"] = "no"
    trip(api)
    wait_for(lambda: status_of(api) == "UpdateRollbackFailed", "the failure of the rollback")
    reason = api.describe("e")["FailureReason"]
    assert "serve: no" in reason
    assert "errors is in the state ALARM" in reason
    assert {api.invoke("e")["name"] for _ in range(5)} == {"old"}


def test_an_endpoint_is_deleted_while_a_canary_bakes(api: Api) -> None:
    prepare(api)
    update(api, blue_green("CANARY", CanarySize=percent(50)))
    wait_for_share(api, 0.5)
    running = [*pids(api), *pids(api, "successor")]
    assert len(running) == 2
    api.client("sagemaker").delete_endpoint(EndpointName="e")
    wait_for(lambda: not api.client("sagemaker").list_endpoints()["Endpoints"], "the deletion")
    assert not any(map(is_alive, running))


def test_a_restart_while_a_canary_bakes_starts_what_was_there(api: Api) -> None:
    prepare(api)
    update(api, blue_green("CANARY", CanarySize=percent(50)))
    wait_for_share(api, 0.5)
    api.restart()
    described = api.describe("e")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "e")
    assert "PendingDeploymentSummary" not in described
    assert api.invoke("e")["name"] == "old"


def test_a_dead_instance_of_the_new_ones_is_replaced(api: Api) -> None:
    prepare(api)
    update(api, blue_green("CANARY", CanarySize=percent(50)))
    wait_for_share(api, 0.5)
    [pid] = pids(api, "successor")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(pid))
    endpoint = api.emulator.endpoints.find("e")
    assert endpoint
    assert endpoint.successor
    endpoint.successor.heal()
    wait_for(
        lambda: len(pids(api, "successor")) == 1 and pid not in pids(api, "successor"), "the replacement"
    )


def test_the_last_policy_may_be_kept(api: Api) -> None:
    prepare(api)
    config = blue_green("ALL_AT_ONCE", wait=0)
    update(api, config)
    assert api.describe("e")["LastDeploymentConfig"] == config
    api.make_config("c3", {"VariantName": "v", "ModelName": "old"})
    last = blue_green("CANARY", CanarySize=percent(50))
    client = api.client("sagemaker")
    client.update_endpoint(EndpointName="e", EndpointConfigName="c3", RetainDeploymentConfig=True)
    assert api.describe("e")["EndpointConfigName"] == "c3"
    update(api, last)
    wait_for_share(api, 0.5)
    assert api.describe("e")["LastDeploymentConfig"] == last


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (blue_green("CANARY"), "needs CanarySize"),
        (watching({}), "Could not find CloudWatch alarm 'errors'"),
    ],
    ids=["no-size", "no-alarm"],
)
def test_what_is_refused_changes_nothing(api: Api, config: dict[str, Any], text: str) -> None:
    prepare(api)
    with pytest.raises(ClientError, match=text):
        update(api, config)
    assert api.describe("e")["EndpointStatus"] == "InService"
    assert "LastDeploymentConfig" not in api.describe("e")


def test_an_error_of_the_old_ones_after_the_update_is_theirs(api: Api) -> None:
    """A request that was sent to a variant that does not serve any more by the time of its answer."""
    for name in ("old", "new"):
        api.make_model(name, STUB_NAME=name)
    api.make_endpoint("e", {"ModelName": "old"})
    api.make_config("c2", {"ModelName": "new"})  # another variant's name
    endpoint = api.emulator.endpoints.find("e")
    assert endpoint
    variant, response = endpoint.invoke(Invocation(b"status 500", {}))
    update(api)
    wait_for(lambda: api.invoke("e")["name"] == "new", "the new instances")
    assert status_of(api) == "Updating"  # it waits for that request
    error = endpoint.model_error(variant, response)
    assert error.members["OriginalStatusCode"] == 500
    assert ":log-stream:old/" in error.members["LogStreamArn"]
    assert api.describe("e")["EndpointStatus"] == "InService"


def test_the_instance_with_the_fewest_requests_is_asked(api: Api) -> None:
    routing = {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"}
    api.make_model("m")
    api.make_endpoint("e", {"ModelName": "m", "InitialInstanceCount": 2, "RoutingConfig": routing})
    endpoint = api.emulator.endpoints.find("e")
    assert endpoint
    _, response = endpoint.invoke(Invocation(b"in flight", {}))
    ports = {api.invoke("e")["environ"]["SAGEMAKER_BIND_TO_PORT"] for _ in range(4)}
    assert len(ports) == 1
    assert json.loads(response.read())["environ"]["SAGEMAKER_BIND_TO_PORT"] not in ports
