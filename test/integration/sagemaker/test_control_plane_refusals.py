"""Every way in which the control plane refuses an operation, in front of a real server: codes, statuses and texts."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.local_sagemaker import IMAGE, REGION, ROLE, LocalSageMaker, failing_job, variant

ARN = f"arn:aws:sagemaker:{REGION}:123456789012"
CONTAINER = {"Image": IMAGE}
DATA = {**CONTAINER, "ModelDataUrl": "s3://models/gone/model.tar.gz"}
SERVERLESS = {"MemorySizeInMB": 1024, "MaxConcurrency": 1}


@pytest.fixture(scope="module")
def client(sagemaker: LocalSageMaker) -> Any:
    """With `model`, which has no data, and `gone`, whose data is gone: its endpoint has failed."""
    made = sagemaker.client("sagemaker")
    sagemaker.make_bucket("models")
    s3 = sagemaker.client("s3")
    s3.put_object(Bucket="models", Key="gone/model.tar.gz", Body=b"")
    for name, container in (("model", CONTAINER), ("gone", DATA)):
        made.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    s3.delete_object(Bucket="models", Key="gone/model.tar.gz")
    made.create_endpoint_config(EndpointConfigName="gone", ProductionVariants=[variant("gone")])
    made.create_endpoint(EndpointName="gone", EndpointConfigName="gone")
    assert made.describe_endpoint(EndpointName="gone")["EndpointStatus"] == "Failed"
    return made


def test_a_token_that_nobody_has_given_out(client: Any) -> None:
    with pytest.raises(ClientError, match=r"ValidationException.*NextToken"):
        client.list_models(NextToken="nonsense")


def of_config(**variant_members: Any) -> dict[str, Any]:
    return {"EndpointConfigName": "refused", "ProductionVariants": [variant_members]}


ON_MACHINES = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
VARIANT = {"VariantName": "v", "ModelName": "model", **ON_MACHINES}
CAPACITY = [{"VariantName": "v", "DesiredWeight": 1.0}]
NOT_FOUND: dict[str, dict[str, Any]] = {
    "describe_model": {"ModelName": "x"},
    "delete_model": {"ModelName": "x"},
    "describe_endpoint_config": {"EndpointConfigName": "x"},
    "delete_endpoint_config": {"EndpointConfigName": "x"},
    "create_endpoint": {"EndpointName": "e", "EndpointConfigName": "x"},
    "describe_endpoint": {"EndpointName": "x"},
    "update_endpoint": {"EndpointName": "x", "EndpointConfigName": "gone"},
    "update_endpoint_weights_and_capacities": {"EndpointName": "x", "DesiredWeightsAndCapacities": CAPACITY},
    "delete_endpoint": {"EndpointName": "x"},
    "create_transform_job": failing_job("refused", ModelName="x"),
    "describe_transform_job": {"TransformJobName": "x"},
    "stop_transform_job": {"TransformJobName": "x"},
    "create_endpoint_config": of_config(**{**VARIANT, "ModelName": "x"}),
    "create_model": {"ModelName": "refused", "ExecutionRoleArn": ROLE, "PrimaryContainer": DATA},
    "add_tags": {"ResourceArn": f"{ARN}:model/x", "Tags": []},
    "list_tags": {"ResourceArn": f"{ARN}:training-job/x"},
    "delete_tags": {"ResourceArn": f"{ARN}:endpoint/x", "TagKeys": ["a"]},
}


@pytest.mark.parametrize("operation", NOT_FOUND)
def test_what_is_not_there(client: Any, operation: str) -> None:
    with pytest.raises(ClientError) as refused:
        getattr(client, operation)(**NOT_FOUND[operation])
    response = refused.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert response["Error"]["Code"] == "ValidationException"
    assert response["Error"]["Message"].startswith("Could not find ")


def _model(**members: Any) -> dict[str, Any]:
    return {"ModelName": "refused", "ExecutionRoleArn": ROLE, **members}


LIMIT = {"TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 101}}
TWICE = [{**CONTAINER, "ContainerHostname": "a"}] * 2
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("create_model", _model(), "either PrimaryContainer or Containers"),
    (
        "create_model",
        _model(PrimaryContainer=CONTAINER, Containers=[CONTAINER] * 2),
        "either PrimaryContainer or",
    ),
    ("create_model", _model(PrimaryContainer={}), "either PrimaryContainer or Containers"),
    ("create_model", _model(PrimaryContainer={"ModelDataUrl": "s3://models/two"}), "needs an Image"),
    ("create_model", _model(PrimaryContainer={"ModelPackageName": "p"}), "Model packages are not part"),
    ("create_model", _model(Containers=[CONTAINER] * 16), "less than or equal to 15"),
    ("create_model", _model(Containers=TWICE), "must be another one"),
    (
        "create_model",
        _model(Containers=[{**CONTAINER, "Mode": "MultiModel"}] * 2),
        "Only a model with one container",
    ),
    (
        "create_model",
        _model(PrimaryContainer={**CONTAINER, "Mode": "MultiModel"}),
        "MultiModel needs ModelDataUrl",
    ),
    (
        "create_model",
        _model(Containers=[CONTAINER] * 2, InferenceExecutionConfig={"Mode": "Direct"}),
        "needs a ContainerHostname",
    ),
    (
        "create_model",
        _model(PrimaryContainer={**CONTAINER, "Environment": {f"A{n}": "x" * 1000 for n in range(33)}}),
        "larger than 32768 bytes",
    ),
    (
        "create_model",
        _model(PrimaryContainer=CONTAINER) | {"ModelName": "no_such_name"},
        "regular expression pattern",
    ),
    ("create_endpoint_config", of_config(VariantName="v", **ON_MACHINES), "needs a ModelName"),
    ("create_endpoint_config", of_config(VariantName="v", ModelName="model"), "needs InstanceType and"),
    ("create_endpoint_config", of_config(**VARIANT, ServerlessConfig=SERVERLESS), "give one of them"),
    ("create_endpoint_config", of_config(**{**VARIANT, "InstanceType": "ml.none"}), "enum value set"),
    (
        "create_endpoint_config",
        {"EndpointConfigName": "refused", "ProductionVariants": [VARIANT] * 2},
        "need names of their own",
    ),
    (
        "create_endpoint_config",
        {
            "EndpointConfigName": "refused",
            "ProductionVariants": [VARIANT, {**VARIANT, "VariantName": "w"}],
            "ShadowProductionVariants": [{**VARIANT, "VariantName": "s"}],
        },
        "has one production variant",
    ),
    ("create_endpoint_config", {"ProductionVariants": [VARIANT]}, "'endpointConfigName' failed to satisfy"),
    ("create_transform_job", failing_job("refused", **LIMIT), "InstanceCount must be at most 100"),
    (
        "create_transform_job",
        failing_job("refused", MaxPayloadInMB=101),
        "MaxPayloadInMB must be at most 100",
    ),
    (
        "create_transform_job",
        failing_job("refused", MaxPayloadInMB=50, MaxConcurrentTransforms=3),
        r"MaxConcurrentTransforms \* MaxPayloadInMB must be at most 100",
    ),
    ("create_transform_job", failing_job("refused", BatchStrategy="SingleRecord"), "needs SplitType"),
    (
        "create_transform_job",
        failing_job("refused", DataProcessing={"JoinSource": "Input"}),
        "DataProcessing needs ContentType to be one of text/csv",
    ),
    (
        "update_endpoint_weights_and_capacities",
        {"EndpointName": "gone", "DesiredWeightsAndCapacities": CAPACITY},
        "which is not in service",
    ),
]


@pytest.mark.parametrize(
    ("operation", "request_", "text"), REFUSED, ids=[f"{n}-{c[0]}" for n, c in enumerate(REFUSED)]
)
def test_what_is_refused(
    sagemaker: LocalSageMaker,
    client: Any,
    operation: str,
    request_: dict[str, Any],
    text: str,
) -> None:
    unchecked = sagemaker.client("sagemaker", parameter_validation=False)
    with pytest.raises(ClientError, match=text) as refused:
        getattr(unchecked, operation)(**request_)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


@pytest.mark.parametrize(
    ("target", "body", "code"),
    [
        ("SageMaker.ListTrainingJobs", b"{}", "UnknownOperationException"),
        ("SageMaker.NoSuchOperation", b"{}", "UnknownOperationException"),
        ("SageMaker.ListModels", b"no JSON", "SerializationException"),
        ("SageMaker.ListModels", b'{"MaxResults": "many"}', "SerializationException"),
        ("SageMaker.ListModels", b'{"MaxResults": 101}', "ValidationException"),
    ],
)
def test_what_no_client_would_send(sagemaker: LocalSageMaker, target: str, body: bytes, code: str) -> None:
    connection = http.client.HTTPConnection("localhost", sagemaker.port)
    connection.request(
        "POST", "/", body, {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"}
    )
    response = connection.getresponse()
    document = json.loads(response.read())
    connection.close()
    assert (response.status, document["__type"], response.headers["x-amzn-ErrorType"]) == (400, code, code)
    assert document["message"]
    assert response.headers["x-amzn-RequestId"]


def test_an_operation_that_is_not_there_is_named(client: Any) -> None:
    with pytest.raises(ClientError) as refused:
        client.list_training_jobs()
    assert refused.value.response["Error"]["Code"] == "UnknownOperationException"
    assert "ListTrainingJobs" in refused.value.response["Error"]["Message"]
