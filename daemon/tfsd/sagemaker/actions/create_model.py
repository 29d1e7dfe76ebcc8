"""CreateModel: a record of images, data and environment. What it names in S3 must be there."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.errors import ValidationException
from tfsd.sagemaker.instances.model_data import exists
from tfsd.sagemaker.resources import MODEL
from tfsd.sagemaker.state import now

MAX_ENVIRONMENT_BYTES = 32 * 1024  # hosting contract section 1


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    name = request["ModelName"]
    MODEL.refuse_existing(call, name)
    if bool(request.get("PrimaryContainer")) == bool(request.get("Containers")):
        raise ValidationException(
            "A model has either PrimaryContainer or Containers; one of them must be given."
        )
    containers = [request["PrimaryContainer"]] if request.get("PrimaryContainer") else request["Containers"]
    for container in containers:
        _check(call, container, len(containers))
    _check_hostnames(request, containers)
    if request.get("ExecutionRoleArn"):
        call.emulator.other_services.make_role(request["ExecutionRoleArn"])
    record = {**request, "ModelArn": MODEL.arn(call, name), "CreationTime": now()}
    MODEL.table(call).put(name, record)
    return record


def _check(call: Call, container: dict[str, Any], count: int) -> None:
    if container.get("ModelPackageName"):
        raise ValidationException(
            "Model packages are not part of local SageMaker; give Image and ModelDataUrl."
        )
    if not container.get("Image"):
        raise ValidationException("A container needs an Image.")
    if (
        sum(len(key) + len(value) for key, value in container.get("Environment", {}).items())
        > MAX_ENVIRONMENT_BYTES
    ):
        raise ValidationException(f"The Environment is larger than {MAX_ENVIRONMENT_BYTES} bytes.")
    if container.get("Mode") == "MultiModel":
        if count > 1:
            raise ValidationException("Only a model with one container may have the Mode MultiModel.")
        if not container.get("ModelDataUrl"):
            raise ValidationException("Mode MultiModel needs ModelDataUrl, the prefix of the models.")
        return
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    uri = container.get("ModelDataUrl") or source.get("S3Uri")
    if uri and not exists(call.emulator.objects, uri):
        raise ValidationException(f"Could not find model data at {uri}.")


def _check_hostnames(request: dict[str, Any], containers: list[dict[str, Any]]) -> None:
    names = [container.get("ContainerHostname") for container in containers]
    if request.get("InferenceExecutionConfig", {}).get("Mode") == "Direct" and None in names:
        raise ValidationException("With the Mode Direct every container needs a ContainerHostname.")
    given = [name for name in names if name]
    if len(given) != len(set(given)):
        raise ValidationException("The ContainerHostname of each container must be another one.")
