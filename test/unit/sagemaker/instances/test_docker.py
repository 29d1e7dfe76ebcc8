"""Images that Docker runs, by a client whose engine runs stubs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("boto3")

from botocore.exceptions import ClientError

from tfsd.sagemaker.instances import docker as dockers

from ..conftest import IMAGE, ROLE, Api, archive, is_alive, wait_for

OTHER = "example.com/other:1"


@pytest.fixture
def docker_api(api: Api) -> Iterator[Api]:
    """With an engine."""
    api.engine.mkdir()
    yield api
    api.emulator.stop()
    assert not runs(api), "containers are left"


def runs(api: Api) -> list[dict[str, Any]]:
    """The containers of the engine, with the options that each was run with."""
    return [json.loads(path.read_text()) for path in sorted(api.engine.glob("*.json"))]


def logged(api: Api) -> list[str]:
    found = api.client("logs").filter_log_events(logGroupName="/aws/sagemaker/Endpoints/e")
    return [event["message"] for event in found["events"]]


def failure(api: Api) -> str:
    api.make_config("c", {"ModelName": "m"})
    api.client("sagemaker").create_endpoint(EndpointName="e", EndpointConfigName="c")
    described = api.describe("e")
    assert described["EndpointStatus"] == "Failed"
    reason: str = described["FailureReason"]
    return reason


def test_another_image_is_run_by_docker(docker_api: Api) -> None:
    api = docker_api
    api.make_model("m", OTHER, STUB_NAME="a b=c")
    api.make_endpoint("e", {"ModelName": "m"})
    [run] = runs(api)
    assert (run["image"], run["command"]) == (OTHER, "serve")
    assert run["publish"].endswith(":8080")
    said = api.invoke("e")
    assert said["name"] == "a b=c"
    assert "HOME" not in said["environ"]
    assert (api.engine / f"{run['name']}.root/opt/ml/model/file").read_text() == "m"
    wait_for(lambda: logged(api) == ["serving", "asked /invocations hello"], "the container's log")
    api.client("sagemaker").delete_endpoint(EndpointName="e")
    wait_for(lambda: not runs(api), "the end of the container")


def test_our_images_are_stacks_unless_everything_is_run_by_docker(docker_api: Api) -> None:
    docker_api.make_model("m")
    docker_api.make_endpoint("e", {"ModelName": "m"})
    assert not runs(docker_api)
    docker_api.everything_by_docker = True
    docker_api.restart()
    docker_api.describe("e")
    assert [run["image"] for run in runs(docker_api)] == [IMAGE]


def test_a_container_that_has_ended_is_replaced(docker_api: Api) -> None:
    api = docker_api
    api.make_model("m", OTHER)
    api.make_endpoint("e", {"ModelName": "m"})
    [before] = runs(api)
    with pytest.raises(ClientError, match="ModelError"):
        api.invoke("e", b"die")
    endpoint = api.emulator.endpoints.find("e")
    assert endpoint
    assert endpoint.deployment
    [live] = endpoint.deployment.everything
    wait_for(lambda: not live.instances[0].alive, "the end of the client")
    endpoint.deployment.heal()
    wait_for(lambda: live.instances, "the replacement")
    assert api.invoke("e")["path"] == "/invocations"
    assert before["name"] not in [run["name"] for run in runs(api)]


def test_many_models_are_named_as_they_lie_inside(docker_api: Api) -> None:
    api = docker_api
    api.put("many", "prefix/a.tar.gz", archive("a"))
    api.client("sagemaker").create_model(
        ModelName="m",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": OTHER, "ModelDataUrl": "s3://many/prefix/", "Mode": "MultiModel"},
    )
    api.make_endpoint("e", {"ModelName": "m"})
    api.invoke("e", TargetModel="a.tar.gz")
    wait_for(lambda: len(logged(api)) == 3, "the container's log")
    url = json.loads(logged(api)[1].removeprefix("asked /models "))["url"]
    assert url.startswith("/opt/ml/models/")
    assert url.endswith("/model")


def test_containers_of_a_pipeline_are_told_their_ports(docker_api: Api) -> None:
    api = docker_api
    api.put("models", "m.tar.gz", archive("m"))
    definition = {"Image": OTHER, "ModelDataUrl": "s3://models/m.tar.gz"}
    api.client("sagemaker").create_model(
        ModelName="m",
        ExecutionRoleArn=ROLE,
        Containers=[{**definition, "Environment": {"STUB_NAME": name}} for name in ("first", "second")],
    )
    api.make_endpoint("e", {"ModelName": "m"})
    said = api.invoke("e")
    assert (said["name"], json.loads(said["body"])["name"]) == ("second", "first")
    assert ["SAGEMAKER_BIND_TO_PORT=8080" in run["env"] for run in runs(api)] == [True, True]


def test_without_an_engine_the_endpoint_says_so(api: Api) -> None:
    api.make_model("m", OTHER)
    reason = failure(api)
    assert reason.startswith(f"The image {OTHER} needs Docker, and there is no docker engine running")
    assert "sagemaker-tensorflow-serving" in reason


def test_without_a_client() -> None:
    assert dockers.Docker(("/nowhere/docker",)).missing() == "there is no docker on this machine"


def test_an_image_that_cannot_be_had(docker_api: Api) -> None:
    docker_api.make_model("m", "missing")
    assert failure(docker_api).endswith("Error response from daemon: pull access denied for missing.")


def test_what_a_killed_emulator_left_is_removed(docker_api: Api) -> None:
    docker_api.make_model("m", OTHER)
    docker_api.make_endpoint("e", {"ModelName": "m"})
    [run] = runs(docker_api)
    dockers.sweep(docker_api.emulator.launcher.docker, docker_api.directory / "instances")
    assert not runs(docker_api)
    wait_for(lambda: not is_alive(run["pid"]), "the end of the container")
