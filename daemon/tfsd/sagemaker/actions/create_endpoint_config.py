"""CreateEndpointConfig: variants of models that exist, with what each runs on."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.errors import ValidationException
from tfsd.sagemaker.resources import ENDPOINT_CONFIG, MODEL
from tfsd.sagemaker.state import now


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    name = request["EndpointConfigName"]
    ENDPOINT_CONFIG.refuse_existing(call, name)
    variants = [*request["ProductionVariants"], *request.get("ShadowProductionVariants", ())]
    names = [variant["VariantName"] for variant in variants]
    if len(names) != len(set(names)):
        raise ValidationException(
            f"The variants of an endpoint need names of their own, not {', '.join(names)}."
        )
    if request.get("ShadowProductionVariants") and len(request["ProductionVariants"]) > 1:
        raise ValidationException("An endpoint with shadow variants has one production variant.")
    for variant in variants:
        _check(call, variant)
    record = {**request, "EndpointConfigArn": ENDPOINT_CONFIG.arn(call, name), "CreationTime": now()}
    ENDPOINT_CONFIG.table(call).put(name, record)
    return record


def _check(call: Call, variant: dict[str, Any]) -> None:
    name = variant["VariantName"]
    if not variant.get("ModelName"):
        raise ValidationException(
            f"Variant {name} needs a ModelName: inference components are not part of local SageMaker."
        )
    MODEL.get(call, variant["ModelName"])
    machines = variant.get("InstanceType") and variant.get("InitialInstanceCount")
    if not variant.get("ServerlessConfig") and not machines:
        raise ValidationException(
            f"Variant {name} needs InstanceType and InitialInstanceCount, or ServerlessConfig."
        )
    if variant.get("ServerlessConfig") and variant.get("InstanceType"):
        raise ValidationException(
            f"Variant {name} has a ServerlessConfig and an InstanceType; give one of them."
        )
    variant.setdefault("InitialVariantWeight", 1.0)
