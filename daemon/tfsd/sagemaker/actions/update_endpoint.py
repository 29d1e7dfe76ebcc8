"""UpdateEndpoint: move an endpoint to another configuration, without an interruption, as its DeploymentConfig says."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.endpoints.endpoint import Endpoint
from tfsd.sagemaker.errors import ValidationException
from tfsd.sagemaker.resources import ENDPOINT, ENDPOINT_CONFIG

RETAINED = {"DesiredInstanceCount": "InitialInstanceCount", "DesiredWeight": "InitialVariantWeight"}


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    record = ENDPOINT.get(call, request["EndpointName"])
    config = ENDPOINT_CONFIG.get(call, request["EndpointConfigName"])
    endpoint = call.emulator.endpoints.find(request["EndpointName"])
    if endpoint is None:
        raise ValidationException(f'Could not find endpoint "{record["EndpointArn"]}".')
    last = record.get("LastDeploymentConfig") if request.get("RetainDeploymentConfig") else None
    call.emulator.endpoints.update(
        endpoint,
        config,
        _retained(endpoint, request),
        keeps_capture="DataCaptureConfig" in _kept_kinds(request),
        deployment_config=request.get("DeploymentConfig") or last,
    )
    return record


def _retained(endpoint: Endpoint, request: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By variant, what the request wants to keep of the weights and counts of now."""
    kinds = _kept_kinds(request)
    members = [member for kind, member in RETAINED.items() if kind in kinds]
    now = endpoint.record["Deployment"]["Config"]["ProductionVariants"]
    return {
        definition["VariantName"]: {
            member: definition[member] for member in members if definition.get(member) is not None
        }
        for definition in now
    }


def _kept_kinds(request: dict[str, Any]) -> set[str]:
    """The values of VariantPropertyType that the request wants to keep."""
    if not request.get("RetainAllVariantProperties"):
        return set()
    excluded = {item["VariantPropertyType"] for item in request.get("ExcludeRetainedVariantProperties", ())}
    return {*RETAINED, "DataCaptureConfig"} - excluded
