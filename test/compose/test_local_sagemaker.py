"""Local SageMaker runs the image through Docker: `bin/local sagemaker --docker`."""

from __future__ import annotations

import json
from pathlib import Path

from support.docker import docker
from support.local_sagemaker import LocalSageMaker

VARIANT = {
    "VariantName": "v",
    "ModelName": "numbers",
    "InitialInstanceCount": 1,
    "InstanceType": "ml.c5.xlarge",
}


def containers() -> list[str]:
    return docker("ps", "--all", "--format", "{{.Image}}", "--filter", "name=tfsd-sagemaker-").split()


def test_an_endpoint_of_the_image(image: str, numbers: Path, tmp_path: Path) -> None:
    with LocalSageMaker(tmp_path, arguments=["--docker"]) as sagemaker:
        sagemaker.create_model(
            "numbers", numbers, image=image, SAGEMAKER_TFS_DEFAULT_MODEL_NAME="half_plus_three"
        )
        client = sagemaker.client("sagemaker")
        client.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[VARIANT])
        client.create_endpoint(EndpointName="e", EndpointConfigName="c")
        client.get_waiter("endpoint_in_service").wait(EndpointName="e")
        assert containers() == [image]
        answer = sagemaker.client("sagemaker-runtime").invoke_endpoint(
            EndpointName="e", Body=b'{"instances": [1.0, 2.0]}', ContentType="application/json"
        )
        assert json.loads(answer["Body"].read()) == {"predictions": [3.5, 4.0]}
        client.delete_endpoint(EndpointName="e")
        client.get_waiter("endpoint_deleted").wait(EndpointName="e")
        assert not containers()
