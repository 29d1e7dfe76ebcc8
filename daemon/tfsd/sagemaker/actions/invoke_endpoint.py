"""InvokeEndpoint: a request to a container, its answer, and the headers of both."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.invocations.observation import Observation
from tfsd.sagemaker.runtime import check_answer_size, find_endpoint, invocation, session_headers


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    endpoint = find_endpoint(call, request)
    observation = Observation(call, endpoint, request)
    variant, response = observation.invoke(invocation(request))
    body = observation.read(variant, response)
    observation.answered(variant, response, body)
    if response.status >= 400:
        raise endpoint.model_error(variant, response)
    check_answer_size(body)
    return {
        "Body": body,
        "ContentType": response.header("Content-Type"),
        "InvokedProductionVariant": variant.name,
        "CustomAttributes": response.header("X-Amzn-SageMaker-Custom-Attributes"),
        **session_headers(response),
    }
