"""Updates by steps over real stacks under load, and many endpoints one after the other."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.endpoint_load import Load
from support.local_sagemaker import LocalSageMaker, variant, wait_for

ONE_WORKER: dict[str, Any] = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
CANARY = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
            "WaitIntervalInSeconds": 5,
        }
    },
    "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]},
}


@pytest.fixture(scope="module")
def made_models(sagemaker: LocalSageMaker, two_and_three: tuple[Path, Path]) -> None:
    """In S3 and as models: two (2.0 → 3.0) and three (2.0 → 4.0)."""
    for name, directory in zip(("two", "three"), two_and_three, strict=True):
        sagemaker.create_model(name, directory, **ONE_WORKER)


def status(client: Any, name: str) -> str:
    """Of an endpoint, from the list: nobody is held for it."""
    [found] = client.list_endpoints(NameContains=name)["Endpoints"]
    return str(found["EndpointStatus"])


def stacks(sagemaker: LocalSageMaker) -> list[str]:
    return [words for words in sagemaker.processes().values() if "tfsd.stack.supervisord" in words]


def test_a_canary_that_is_rolled_back_and_one_that_is_not(
    sagemaker: LocalSageMaker, made_models: None
) -> None:
    """Not one request fails meanwhile, whichever way the traffic goes."""
    client, cloudwatch = sagemaker.client("sagemaker"), sagemaker.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="errors",
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Dimensions=[{"Name": "EndpointName", "Value": "canary"}, {"Name": "VariantName", "Value": "v"}],
        Statistic="Average",
        Period=60,
        EvaluationPeriods=1,
        Threshold=0.1,
        ComparisonOperator="GreaterThanThreshold",
    )
    sagemaker.serve("canary", variant("two", VariantName="v"))
    client.create_endpoint_config(
        EndpointConfigName="canary-2", ProductionVariants=[variant("three", VariantName="v")]
    )
    with Load(sagemaker, "canary") as load:
        wait_for(lambda: 3.0 in load.answers, "an answer before the update")
        client.update_endpoint(EndpointName="canary", EndpointConfigName="canary-2", DeploymentConfig=CANARY)
        wait_for(lambda: 4.0 in load.answers, "an answer of the canary")
        cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="a test")
        wait_for(lambda: status(client, "canary") == "InService", "the rollback")
        described = client.describe_endpoint(EndpointName="canary")
        assert described["EndpointConfigName"] == "canary"
        assert "errors is in the state ALARM: a test" in described["FailureReason"]
        seen = len(load.answers)
        wait_for(lambda: len(load.answers) > seen + 10, "answers after the rollback")
        assert set(load.answers[seen + 2 :]) == {3.0}
        assert len(stacks(sagemaker)) == 1

        cloudwatch.set_alarm_state(AlarmName="errors", StateValue="OK", StateReason="a test")
        client.update_endpoint(
            EndpointName="canary", EndpointConfigName="canary-2", RetainDeploymentConfig=True
        )
        wait_for(lambda: status(client, "canary") == "InService", "the update")
        assert client.describe_endpoint(EndpointName="canary")["EndpointConfigName"] == "canary-2"
        seen = len(load.answers)
        wait_for(lambda: len(load.answers) > seen + 10, "answers after the update")
        assert set(load.answers[seen + 2 :]) == {4.0}
    assert not load.failures, load.failures[:3]
    assert len(stacks(sagemaker)) == 1
    sagemaker.delete_endpoint("canary")


@pytest.mark.timeout(900)  # twenty whole stacks are started, two at a time
def test_twenty_endpoints_leave_no_process(sagemaker: LocalSageMaker, made_models: None) -> None:
    client = sagemaker.client("sagemaker")
    client.create_endpoint_config(EndpointConfigName="many", ProductionVariants=[variant("two")])

    def come_and_go(number: int) -> list[float]:
        name = f"many-{number}"
        own = sagemaker.client("sagemaker")
        own.create_endpoint(EndpointName=name, EndpointConfigName="many")
        own.get_waiter("endpoint_in_service").wait(EndpointName=name)
        answer = sagemaker.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=name, Body=b'{"instances": [2.0]}', ContentType="application/json"
        )
        sagemaker.delete_endpoint(name)
        found: list[float] = json.loads(answer["Body"].read())["predictions"]
        return found

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(come_and_go, range(20))) == [[3.0]] * 20
    assert not client.list_endpoints()["Endpoints"]
    assert not [words for words in sagemaker.processes().values() if "tfsd" in words]
    assert not list((sagemaker.directory / "data" / "instances").iterdir())
