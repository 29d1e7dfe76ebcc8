"""UpdateEndpointWeightsAndCapacities: other weights, at once, and other instance counts, in the background."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.endpoints.variant import Variant
from tfsd.sagemaker.errors import ValidationException
from tfsd.sagemaker.resources import ENDPOINT


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    record = ENDPOINT.get(call, request["EndpointName"])
    endpoint = call.emulator.endpoints.find(request["EndpointName"])
    if endpoint is None or endpoint.deployment is None:
        raise ValidationException(
            f'Cannot update endpoint "{record["EndpointArn"]}", which is not in service.'
        )
    changes = {}
    for desired in request["DesiredWeightsAndCapacities"]:
        name = desired["VariantName"]
        if name not in endpoint.deployment.variants:
            raise ValidationException(f'The endpoint "{record["EndpointArn"]}" has no variant {name}.')
        change = {
            "InitialVariantWeight": desired.get("DesiredWeight"),
            "InitialInstanceCount": desired.get("DesiredInstanceCount"),
            "ServerlessConfig": _serverless(endpoint.deployment.variants[name], desired),
        }
        changes[name] = {member: value for member, value in change.items() if value is not None}
    call.emulator.endpoints.scale(endpoint, changes)
    return record


def _serverless(variant: Variant, desired: dict[str, Any]) -> dict[str, Any] | None:
    update = desired.get("ServerlessUpdateConfig")
    if update is None:
        return None
    if variant.serverless is None:
        raise ValidationException(f"The variant {variant.name} is not serverless.")
    return {**variant.serverless, **update}
