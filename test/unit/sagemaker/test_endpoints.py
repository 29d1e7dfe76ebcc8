"""Endpoints over stub containers: statuses, updates, rollbacks, weights, healing, restarts."""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tfsd.sagemaker.instances.container import sweep
from tfsd.sagemaker.instances.instance import Instance

from .conftest import Api, is_alive, variant, wait_for


def pids(api: Api, name: str) -> list[int]:
    endpoint = api.emulator.endpoints.find(name)
    assert endpoint
    assert endpoint.deployment
    return [
        container.pid
        for live in endpoint.deployment.everything
        for instance in live.instances
        for container in instance.containers
    ]


def test_an_endpoint_lives_and_goes_while_the_disk_is_full(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    api.make_model("m")
    api.make_endpoint("e", {"ModelName": "m"})
    running = pids(api, "e")
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ClientError, match="No space left"):
        api.client("sagemaker").create_endpoint(EndpointName="f", EndpointConfigName="e")
    with pytest.raises(ClientError, match="Could not find endpoint"):
        api.describe("f")
    api.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName="e", DesiredWeightsAndCapacities=[{"VariantName": "m", "DesiredWeight": 2}]
    )
    assert api.describe("e")["EndpointStatus"] == "InService"
    api.client("sagemaker").delete_endpoint(EndpointName="e")
    with pytest.raises(ClientError, match="Could not find endpoint"):
        api.describe("e")
    assert not any(map(is_alive, running))


class SlowToEnd:
    """A task that, when it is killed, takes until the other endpoints are gone."""

    def __init__(self, api: Api) -> None:
        self._state = api.emulator.state

    def kill(self) -> None:
        wait_for(lambda: not {"b", "c"} & {name for name, _ in self._state.endpoints.items()})


def test_an_endpoint_from_creation_to_deletion(api: Api) -> None:
    api.make_model("m", STUB_NAME="one")
    api.make_config("c", {"ModelName": "m", "InitialInstanceCount": 2})
    client = api.client("sagemaker")
    arn = client.create_endpoint(EndpointName="e", EndpointConfigName="c")["EndpointArn"]
    assert client.list_endpoints(StatusEquals="Creating")["Endpoints"][0]["EndpointArn"] == arn
    described = api.describe("e")  # held until it is in service
    assert described["EndpointStatus"] == "InService"
    [production] = described["ProductionVariants"]
    assert production["CurrentInstanceCount"] == 2
    assert production["DeployedImages"][0]["SpecifiedImage"].endswith(":1.12.0-cpu")
    assert "FailureReason" not in described
    running = pids(api, "e")
    assert api.invoke("e")["name"] == "one"
    client.delete_endpoint(EndpointName="e")
    with pytest.raises(ClientError, match="Could not find endpoint"):
        api.describe("e")
    assert not any(map(is_alive, running))
    assert not list((api.directory / "instances").iterdir())


def test_the_log_says_why_an_endpoint_failed(api: Api) -> None:
    api.make_model("m", STUB_REFUSES="there is no model in here")
    api.make_config("c", {"ModelName": "m"})
    api.client("sagemaker").create_endpoint(EndpointName="e", EndpointConfigName="c")
    described = api.describe("e")
    assert described["EndpointStatus"] == "Failed"
    assert described["FailureReason"] == (
        "The primary container for production variant m ended before it was healthy. "
        "Its log says: serve: there is no model in here"
    )
    events = api.client("logs").filter_log_events(logGroupName="/aws/sagemaker/Endpoints/e")["events"]
    assert [event["message"] for event in events] == ["serve: there is no model in here"]


def test_an_update_moves_traffic_and_stops_what_was_there(api: Api) -> None:
    for name in ("old", "new"):
        api.make_model(name, STUB_NAME=name)
    api.make_endpoint("e", {"ModelName": "old"})
    before = pids(api, "e")
    api.make_config("c2", {"ModelName": "new"})
    api.client("sagemaker").update_endpoint(EndpointName="e", EndpointConfigName="c2")
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        api.client("sagemaker").update_endpoint(EndpointName="e", EndpointConfigName="c2")
    described = api.describe("e")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "c2")
    assert api.invoke("e")["name"] == "new"
    assert not any(map(is_alive, before))


def test_an_update_that_fails_leaves_the_old_in_service(api: Api) -> None:
    api.make_model("old", STUB_NAME="old")
    api.make_model("bad", STUB_REFUSES="no")
    api.make_endpoint("e", {"ModelName": "old"})
    api.make_config("c2", {"ModelName": "bad"})
    api.client("sagemaker").update_endpoint(EndpointName="e", EndpointConfigName="c2")
    described = api.describe("e")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "e")
    assert "serve: no" in described["FailureReason"]
    assert api.invoke("e")["name"] == "old"


def test_an_update_may_retain_weights_and_counts(api: Api) -> None:
    api.make_model("m")
    api.make_endpoint("e", {"ModelName": "m", "InitialInstanceCount": 2, "InitialVariantWeight": 3.0})
    api.make_config("c2", {"ModelName": "m"})
    api.client("sagemaker").update_endpoint(
        EndpointName="e",
        EndpointConfigName="c2",
        RetainAllVariantProperties=True,
        ExcludeRetainedVariantProperties=[{"VariantPropertyType": "DesiredWeight"}],
    )
    [production] = api.describe("e")["ProductionVariants"]
    assert (production["CurrentInstanceCount"], production["CurrentWeight"]) == (2, 1.0)


@pytest.mark.parametrize(
    ("retained", "excluded", "expected"),
    [(True, (), "s3://old/"), (True, ("DataCaptureConfig",), "s3://new/"), (False, (), "s3://new/")],
)
def test_an_update_may_retain_the_data_capture(
    api: Api, retained: bool, excluded: tuple[str, ...], expected: str
) -> None:
    def capture(uri: str) -> dict[str, object]:
        options = [{"CaptureMode": "Input"}]
        return {"InitialSamplingPercentage": 1, "DestinationS3Uri": uri, "CaptureOptions": options}

    api.make_model("m")
    api.make_endpoint("e", {"ModelName": "m"}, DataCaptureConfig=capture("s3://old/"))
    api.make_config("c2", {"ModelName": "m"}, DataCaptureConfig=capture("s3://new/"))
    api.client("sagemaker").update_endpoint(
        EndpointName="e",
        EndpointConfigName="c2",
        RetainAllVariantProperties=retained,
        ExcludeRetainedVariantProperties=[{"VariantPropertyType": kind} for kind in excluded],
    )
    described = api.describe("e")
    assert (described["EndpointConfigName"], described["DataCaptureConfig"]["DestinationS3Uri"]) == (
        "c2",
        expected,
    )


def test_an_isolated_model_has_no_package_index(api: Api) -> None:
    api.make_model("m", isolated=True, PIP_NO_INDEX="0")
    api.make_endpoint("e", {"ModelName": "m"})
    assert api.invoke("e")["environ"]["PIP_NO_INDEX"] == "1"


def test_weights_split_the_traffic(api: Api) -> None:
    """By chi-square with one degree of freedom: 10.8 is passed by chance once in a thousand runs."""
    for name in ("a", "b"):
        api.make_model(name, STUB_NAME=name)
    api.make_endpoint("e", {"ModelName": "a", "InitialVariantWeight": 3.0}, {"ModelName": "b"})
    count = 400
    seen = Counter(api.invoke("e")["name"] for _ in range(count))
    expected = {"a": count * 0.75, "b": count * 0.25}
    assert sum((seen[name] - times) ** 2 / times for name, times in expected.items()) < 10.8
    assert {api.invoke("e", TargetVariant="b")["name"] for _ in range(5)} == {"b"}
    api.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName="e",
        DesiredWeightsAndCapacities=[
            {"VariantName": "a", "DesiredWeight": 0.0, "DesiredInstanceCount": 1},
            {"VariantName": "b", "DesiredWeight": 1.0, "DesiredInstanceCount": 2},
        ],
    )
    described = {item["VariantName"]: item for item in api.describe("e")["ProductionVariants"]}
    assert described["b"]["CurrentInstanceCount"] == 2
    assert {api.invoke("e")["name"] for _ in range(10)} == {"b"}


def test_instances_take_turns(api: Api) -> None:
    api.make_model("m")
    api.make_endpoint("e", {"ModelName": "m", "InitialInstanceCount": 2})
    ports = [api.invoke("e")["environ"]["SAGEMAKER_BIND_TO_PORT"] for _ in range(6)]
    assert ports == ports[:2] * 3
    assert len(set(ports)) == 2


def test_a_dead_instance_is_replaced(api: Api) -> None:
    api.make_model("m")
    api.make_endpoint("e", {"ModelName": "m", "InitialInstanceCount": 2})
    before = pids(api, "e")
    os.kill(before[0], signal.SIGKILL)
    wait_for(lambda: not is_alive(before[0]))
    for _ in range(4):
        api.invoke("e")  # the other one answers
    endpoint = api.emulator.endpoints.find("e")
    assert endpoint
    assert endpoint.deployment
    endpoint.deployment.heal()
    wait_for(lambda: len(pids(api, "e")) == 2 and before[0] not in pids(api, "e"), "the replacement")
    assert api.describe("e")["EndpointStatus"] == "InService"


def test_a_start_that_fails_for_whatever_reason_fails_the_endpoint(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    api.make_model("m")
    api.make_config("c", {"ModelName": "m"})
    monkeypatch.setattr("tfsd.sagemaker.instances.instance.Instance.start", broken)
    api.client("sagemaker").create_endpoint(EndpointName="e", EndpointConfigName="c")
    described = api.describe("e")
    assert (described["EndpointStatus"], described["FailureReason"]) == ("Failed", "RuntimeError: a defect")
    assert not api.emulator.launcher.instances


def test_an_instance_that_goes_while_it_is_pinged_is_not_replaced(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.make_model("m")
    api.make_endpoint("e", {"ModelName": "m", "InitialInstanceCount": 2})
    live = api.emulator.endpoints.find("e")
    assert live
    assert live.deployment
    [variant] = live.deployment.variants.values()
    first, second = variant.instances

    def check(self: Instance) -> bool:
        variant.desired_count = 1
        if second in variant.instances:
            variant.scale()
        return True

    monkeypatch.setattr(Instance, "check", check)
    variant.heal()
    assert variant.instances == [first]


def test_the_emulator_stops_while_endpoints_are_being_deleted(api: Api) -> None:
    api.make_model("m")
    for name in ("a", "b", "c"):
        api.make_endpoint(name, {"ModelName": "m"})
    for name in ("a", "b", "c"):
        api.client("sagemaker").delete_endpoint(EndpointName=name)
    slow = api.emulator.endpoints.find("a")
    assert slow
    slow.task = SlowToEnd(api)
    api.emulator.endpoints.stop()


def test_an_endpoint_is_deleted_while_it_is_being_created(api: Api) -> None:
    api.make_model("m", STUB_UNHEALTHY="1")
    api.make_config("c", {"ModelName": "m"})
    client = api.client("sagemaker")
    client.create_endpoint(EndpointName="e", EndpointConfigName="c")
    wait_for(lambda: list((api.directory / "instances").glob("*/*/pid")), "the start of the container")
    [pid] = [int(path.read_text().split()[0]) for path in (api.directory / "instances").glob("*/*/pid")]
    client.delete_endpoint(EndpointName="e")
    with pytest.raises(ClientError, match="Could not find endpoint"):
        api.describe("e")
    assert not is_alive(pid)


def test_many_endpoints_leave_nothing_behind(api: Api) -> None:
    api.make_model("m")
    api.make_config("c", {"ModelName": "m"})
    client = api.client("sagemaker")
    names = [f"e{number}" for number in range(20)]
    for name in names:
        client.create_endpoint(EndpointName=name, EndpointConfigName="c")
    running = [pid for name in names if api.describe(name) for pid in pids(api, name)]
    assert len(running) == 20
    for name in names:
        client.delete_endpoint(EndpointName=name)
    wait_for(lambda: not client.list_endpoints()["Endpoints"])
    assert not any(map(is_alive, running))
    assert not list((api.directory / "instances").iterdir())


def test_a_restart_finds_its_endpoints_again(api: Api) -> None:
    api.make_model("m", STUB_NAME="kept")
    api.make_endpoint("e", {"ModelName": "m"})
    api.client("sagemaker").delete_model(ModelName="m")
    api.client("sagemaker").delete_endpoint_config(EndpointConfigName="e")
    before = pids(api, "e")
    api.restart()
    assert not any(map(is_alive, before))
    assert api.describe("e")["EndpointStatus"] == "InService"
    assert api.invoke("e")["name"] == "kept"


def test_what_a_killed_emulator_left_is_ended(api: Api) -> None:
    api.make_model("m")
    api.make_endpoint("e", {"ModelName": "m"})
    [pid] = pids(api, "e")
    sweep(api.directory / "instances")
    assert not (api.directory / "instances").exists()
    wait_for(lambda: not is_alive(pid), "the end of the container")


def test_a_serverless_variant_has_its_concurrency(api: Api) -> None:
    api.make_model("m")
    api.make_endpoint(
        "e", {"ModelName": "m", "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}
    )
    endpoint = api.emulator.endpoints.find("e")
    assert endpoint
    assert endpoint.deployment
    live = endpoint.deployment.variants["m"]
    live.enter()
    with pytest.raises(ClientError) as error:
        api.invoke("e")
    assert error.value.response["Error"]["Code"] == "ThrottlingException"
    api.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName="e",
        DesiredWeightsAndCapacities=[{"VariantName": "m", "ServerlessUpdateConfig": {"MaxConcurrency": 2}}],
    )
    api.describe("e")
    api.invoke("e")
    live.leave()
    assert "CurrentInstanceCount" not in api.describe("e")["ProductionVariants"][0]


def test_a_shadow_gets_a_copy(api: Api) -> None:
    for name in ("m", "shadow"):
        api.make_model(name, STUB_NAME=name)
    api.make_endpoint("e", {"ModelName": "m"}, ShadowProductionVariants=[variant(ModelName="shadow")])
    assert api.invoke("e")["name"] == "m"
    logs = api.client("logs")

    def asked() -> list[str]:
        """What the shadow was asked, by its log."""
        found = logs.filter_log_events(logGroupName="/aws/sagemaker/Endpoints/e")
        return [event["message"] for event in found["events"] if event["logStreamName"].startswith("shadow/")]

    wait_for(lambda: asked() == ["serving", "asked /invocations hello"])
    assert api.describe("e")["ShadowProductionVariants"][0]["VariantName"] == "shadow"
