"""InvokeEndpointWithResponseStream: the container's answer as events, each piece as it comes."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.invocations import event_stream
from tfsd.sagemaker.invocations.observation import Observation
from tfsd.sagemaker.runtime import find_endpoint, invocation


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    endpoint = find_endpoint(call, request)
    observation = Observation(call, endpoint, request)
    variant, response = observation.invoke(invocation(request))
    observation.answered(variant, response)
    if response.status >= 400:
        raise endpoint.model_error(variant, response)
    return {
        "Body": event_stream.payload_parts(response),
        "ContentType": response.header("Content-Type"),
        "InvokedProductionVariant": variant.name,
        "CustomAttributes": response.header("X-Amzn-SageMaker-Custom-Attributes"),
    }
