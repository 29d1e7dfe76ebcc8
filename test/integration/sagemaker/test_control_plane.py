"""Every operation of the control plane, every filter and page of its lists, in front of a real server.

What has to have run here has failed at once, its data being gone: nothing starts but the one endpoint that is deleted
while it is created.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.local_sagemaker import IMAGE, REGION, ROLE, LocalSageMaker, failing_job, variant

ARN = f"arn:aws:sagemaker:{REGION}:123456789012"
CONTAINER = {"Image": IMAGE}
DATA = {**CONTAINER, "ModelDataUrl": "s3://models/gone/model.tar.gz"}
NAMES = ("list-b1", "list-a1", "list-c2")  # in the order of their creation


@dataclass(frozen=True)
class Kind:
    """How a kind of resource is created, described, listed and named."""

    create: Callable[[Any, str], Any]
    describe: str
    lists: str
    listed: str
    member: str
    arn: str
    words: str
    status: str | None = None
    delete: str | None = None


def _create_model(client: Any, name: str) -> Any:
    return client.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=CONTAINER)


def _create_config(client: Any, name: str) -> Any:
    return client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant("model")])


def _create_endpoint(client: Any, name: str) -> Any:
    """Its model's data is gone, so that it fails at once."""
    created = client.create_endpoint(EndpointName=name, EndpointConfigName="gone")
    client.describe_endpoint(EndpointName=name)  # held until then
    return created


def _create_job(client: Any, name: str) -> Any:
    created = client.create_transform_job(**failing_job(name))
    client.describe_transform_job(TransformJobName=name)
    return created


KINDS = {
    "models": Kind(
        *(_create_model, "describe_model", "list_models", "Models", "ModelName", "model", "model"),
        delete="delete_model",
    ),
    "endpoint_configs": Kind(
        *(_create_config, "describe_endpoint_config", "list_endpoint_configs", "EndpointConfigs"),
        *("EndpointConfigName", "endpoint-config", "endpoint configuration"),
        delete="delete_endpoint_config",
    ),
    "endpoints": Kind(
        *(_create_endpoint, "describe_endpoint", "list_endpoints", "Endpoints"),
        *("EndpointName", "endpoint", "endpoint", "EndpointStatus"),
        delete="delete_endpoint",
    ),
    "transform_jobs": Kind(
        *(_create_job, "describe_transform_job", "list_transform_jobs", "TransformJobSummaries"),
        *("TransformJobName", "transform-job", "transform job", "TransformJobStatus"),
    ),
}


@pytest.fixture(scope="module")
def client(sagemaker: LocalSageMaker, two_and_three: tuple[Path, Path]) -> Any:
    """With `model`, which has no data, `two`, which can be served, and the configuration `gone`, which cannot."""
    made = sagemaker.client("sagemaker")
    sagemaker.create_model("two", two_and_three[0])
    s3 = sagemaker.client("s3")
    s3.put_object(Bucket="models", Key="gone/model.tar.gz", Body=b"")
    _create_model(made, "model")
    made.create_model(ModelName="gone", ExecutionRoleArn=ROLE, PrimaryContainer=DATA)
    s3.delete_object(Bucket="models", Key="gone/model.tar.gz")
    made.create_endpoint_config(EndpointConfigName="gone", ProductionVariants=[variant("gone")])
    made.create_endpoint_config(EndpointConfigName="two", ProductionVariants=[variant("two")])
    return made


@pytest.fixture(scope="module")
def listed(client: Any) -> dict[str, list[dict[str, Any]]]:
    """Three resources of each kind, as they are listed, oldest first."""
    found = {}
    for name, kind in KINDS.items():
        for each in NAMES:
            kind.create(client, each)
        page = getattr(client, kind.lists)(NameContains="list-", SortOrder="Ascending")
        found[name] = page[kind.listed]
    return found


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_life_of_a_resource(client: Any, kind: Kind) -> None:
    """Created, described by its ARN, refused a second time, tagged, and deleted until it cannot be found."""
    name = "Life-1"
    arn = f"{ARN}:{kind.arn}/life-1"
    named = {kind.member: name}
    key = "TransformJobArn" if kind.delete is None else f"{kind.member.removesuffix('Name')}Arn"
    assert kind.create(client, name)[key] == arn
    described = getattr(client, kind.describe)(**named)
    assert (described[kind.member], described[key]) == (name, arn)
    if kind.status:
        assert described[kind.status] == "Failed"
        assert (
            "Could not find model data" in described["FailureReason"]
            or "bucket" in described["FailureReason"]
        )

    with pytest.raises(ClientError) as refused:
        kind.create(client, name)
    error = refused.value.response["Error"]
    if kind.delete:
        assert error == {
            "Code": "ValidationException",
            "Message": f'Cannot create already existing {kind.words} "{arn}".',
        }
    else:
        assert error["Code"] == "ResourceInUse"
        assert arn in error["Message"]

    tags = [{"Key": f"key-{number}", "Value": "old"} for number in range(50)]
    assert client.add_tags(ResourceArn=arn, Tags=tags)["Tags"] == tags
    with pytest.raises(ClientError, match="ResourceLimitExceeded"):
        client.add_tags(ResourceArn=arn, Tags=[{"Key": "one-more", "Value": ""}])
    client.add_tags(ResourceArn=arn, Tags=[{"Key": "key-1", "Value": "new"}])
    client.delete_tags(ResourceArn=arn, TagKeys=[f"key-{number}" for number in range(2, 52)])
    left = [{"Key": "key-0", "Value": "old"}, {"Key": "key-1", "Value": "new"}]
    pages = client.get_paginator("list_tags").paginate(ResourceArn=arn)
    assert [tag for page in pages for tag in page["Tags"]] == left

    if kind.delete is None:
        client.stop_transform_job(**named)  # it has ended: nothing happens
        assert client.describe_transform_job(**named)["TransformJobStatus"] == "Failed"
        return
    getattr(client, kind.delete)(**named)
    for operation in (kind.describe, kind.delete):
        with pytest.raises(ClientError) as missing:
            getattr(client, operation)(**named)
        assert missing.value.response["Error"] == {
            "Code": "ValidationException",
            "Message": f'Could not find {kind.words} "{arn}".',
        }


FILTERS: dict[str, tuple[Callable[[list[Any]], dict[str, Any]], list[int]]] = {
    "by default the latest first": (lambda made: {}, [2, 1, 0]),
    "oldest first": (lambda made: {"SortOrder": "Ascending"}, [0, 1, 2]),
    "by name": (lambda made: {"SortBy": "Name", "SortOrder": "Ascending"}, [1, 0, 2]),
    "by name, backwards": (lambda made: {"SortBy": "Name", "SortOrder": "Descending"}, [2, 0, 1]),
    "by part of the name": (lambda made: {"NameContains": "LIST-", "SortOrder": "Ascending"}, [0, 1, 2]),
    "created after": (lambda made: {"CreationTimeAfter": made[1]["CreationTime"]}, [2, 1]),
    "created before": (lambda made: {"CreationTimeBefore": made[1]["CreationTime"]}, [1, 0]),
    "created between": (
        lambda made: {
            "CreationTimeAfter": made[1]["CreationTime"],
            "CreationTimeBefore": made[1]["CreationTime"],
        },
        [1],
    ),
}
OF_STATUS: dict[str, tuple[Callable[[list[Any]], dict[str, Any]], list[int]]] = {
    "changed after": (lambda made: {"LastModifiedTimeAfter": made[1]["LastModifiedTime"]}, [2, 1]),
    "changed before": (lambda made: {"LastModifiedTimeBefore": made[1]["LastModifiedTime"]}, [1, 0]),
    "failed": (lambda made: {"StatusEquals": "Failed"}, [2, 1, 0]),
    "under way": (lambda made: {"StatusEquals": "Deleting"}, []),
    "stopping": (lambda made: {"StatusEquals": "Stopping"}, []),
    "by status": (lambda made: {"SortBy": "Status", "NameContains": "list-a1"}, [1]),
}
CASES = [
    pytest.param(kind, *case, size, id=f"{kind}, {name}, pages of {size}")
    for kind, (name, case), size in itertools.product(KINDS, {**FILTERS, **OF_STATUS}.items(), (1, 2, 10))
    if (KINDS[kind].status or name in FILTERS)
    and (kind, name) not in (("endpoints", "stopping"), ("transform_jobs", "under way"))
]


@pytest.mark.parametrize(("kind", "wanted", "expected", "size"), CASES)
def test_a_list(
    client: Any,
    listed: dict[str, list[dict[str, Any]]],
    kind: str,
    wanted: Callable[[list[Any]], dict[str, Any]],
    expected: list[int],
    size: int,
) -> None:
    """Whatever the size of its pages."""
    words, made = KINDS[kind], listed[kind]
    filters = wanted(made)
    pages = client.get_paginator(words.lists).paginate(
        **{"NameContains": "list-", **filters}, PaginationConfig={"PageSize": size}
    )
    found = [[each[words.member] for each in page[words.listed]] for page in pages]
    assert list(itertools.chain(*found)) == [NAMES[number] for number in expected]
    assert all(len(page) <= size for page in found)


@pytest.fixture
def being_created(sagemaker: LocalSageMaker, client: Any) -> Iterator[str]:
    """An endpoint of a real stack, from its creation on."""
    client.create_endpoint(EndpointName="creating", EndpointConfigName="two")
    yield "creating"
    assert not [words for words in sagemaker.processes().values() if "tfsd" in words]


def test_an_endpoint_is_deleted_while_it_is_created(client: Any, being_created: str) -> None:
    def statuses(status: str) -> list[str]:
        found = client.list_endpoints(NameContains=being_created, StatusEquals=status)["Endpoints"]
        return [each["EndpointName"] for each in found]

    assert statuses("Creating") == [being_created]
    with pytest.raises(ClientError, match=r"ValidationException.*Cannot update in-progress endpoint"):
        client.update_endpoint(EndpointName=being_created, EndpointConfigName="two")
    client.delete_endpoint(EndpointName=being_created)
    assert statuses("Deleting") in ([being_created], [])
    client.get_waiter("endpoint_deleted").wait(EndpointName=being_created)
    assert not statuses("Deleting")
