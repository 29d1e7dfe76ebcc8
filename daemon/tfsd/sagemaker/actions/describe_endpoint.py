"""DescribeEndpoint: status, variants, the reason of a failure. Held while the endpoint changes its status."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.endpoints.endpoint import Endpoint
from tfsd.sagemaker.endpoints.endpoints import UNDER_WAY
from tfsd.sagemaker.endpoints.variant import Variant
from tfsd.sagemaker.errors import ValidationException
from tfsd.sagemaker.resources import ENDPOINT, held


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    name = request["EndpointName"]
    ENDPOINT.get(call, name)
    endpoint = call.emulator.endpoints.find(name)
    record = held(
        lambda: ENDPOINT.table(call).get(name), "EndpointStatus", UNDER_WAY, lambda: _bakes(endpoint)
    )
    if record is None:
        raise ValidationException(f'Could not find endpoint "{ENDPOINT.arn(call, name)}".')
    config = record["Deployment"]["Config"]
    endpoint = call.emulator.endpoints.find(name)
    result = {
        **record,
        "ProductionVariants": _variants(endpoint, config["ProductionVariants"], shadows=False),
        "ShadowProductionVariants": _variants(
            endpoint, config.get("ShadowProductionVariants", ()), shadows=True
        )
        or None,
        "AsyncInferenceConfig": config.get("AsyncInferenceConfig"),
        "ExplainerConfig": config.get("ExplainerConfig"),
        "DataCaptureConfig": _data_capture(config.get("DataCaptureConfig")),
        "PendingDeploymentSummary": _pending(endpoint),
    }
    if record["EndpointStatus"] == "Failed":
        del result["ProductionVariants"]
    return result


def _bakes(endpoint: Endpoint | None) -> bool:
    """Whether an update waits for a time to pass: nobody is held for that."""
    successor = endpoint.successor if endpoint else None
    return successor is not None and any(
        variant.status and variant.status["Status"] == "Baking" for variant in successor.everything
    )


def _pending(endpoint: Endpoint | None) -> dict[str, Any] | None:
    """PendingDeploymentSummary: what an update is starting, while the old instances are there."""
    successor = endpoint.successor if endpoint else None
    if endpoint is None or successor is None:
        return None
    shadows = [_variant(variant.definition, variant, variant.model) for variant in successor.shadows]
    return {
        "EndpointConfigName": successor.config["EndpointConfigName"],
        "ProductionVariants": [
            _variant(variant.definition, variant, variant.model) for variant in successor.variants.values()
        ],
        "ShadowProductionVariants": shadows or None,
        "StartTime": endpoint.update_began,
    }


def _variants(endpoint: Endpoint | None, definitions: Any, shadows: bool) -> list[dict[str, Any]]:
    deployment = endpoint.deployment if endpoint else None
    live: dict[str, Variant] = {}
    if deployment:
        live = {variant.name: variant for variant in deployment.shadows} if shadows else deployment.variants
    models = endpoint.record["Deployment"]["Models"] if endpoint else {}
    return [
        _variant(definition, live.get(definition["VariantName"]), models.get(definition["ModelName"], {}))
        for definition in definitions
    ]


def _variant(definition: dict[str, Any], live: Variant | None, model: dict[str, Any]) -> dict[str, Any]:
    weight = definition.get("InitialVariantWeight", 1.0)
    serverless = definition.get("ServerlessConfig")
    count = None if serverless else definition.get("InitialInstanceCount", 1)
    containers = [model["PrimaryContainer"]] if model.get("PrimaryContainer") else model.get("Containers", [])
    images = [container["Image"] for container in containers]
    return {
        "VariantName": definition["VariantName"],
        "DeployedImages": [
            {"SpecifiedImage": image, "ResolvedImage": image, "ResolutionTime": model["CreationTime"]}
            for image in images
        ],
        "CurrentWeight": live.weight if live else weight,
        "DesiredWeight": weight,
        "CurrentInstanceCount": None if serverless else len(live.instances) if live else 0,
        "DesiredInstanceCount": count,
        "InstanceType": definition.get("InstanceType"),
        "AcceleratorType": definition.get("AcceleratorType"),
        "VariantStatus": [live.status] if live and live.status else None,
        "CurrentServerlessConfig": serverless,
        "RoutingConfig": definition.get("RoutingConfig"),
        "ManagedInstanceScaling": definition.get("ManagedInstanceScaling"),
    }


def _data_capture(config: dict[str, Any] | None) -> dict[str, Any] | None:
    if config is None:
        return None
    enabled = config.get("EnableCapture", True)
    return {
        "EnableCapture": enabled,
        "CaptureStatus": "Started" if enabled else "Stopped",
        "CurrentSamplingPercentage": config["InitialSamplingPercentage"],
        "DestinationS3Uri": config["DestinationS3Uri"],
        "KmsKeyId": config.get("KmsKeyId", ""),
    }
