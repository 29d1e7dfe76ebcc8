"""What the runtime's operations have in common: the endpoint, the request that its container gets, the limits."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.endpoints.endpoint import Endpoint, Invocation
from tfsd.sagemaker.errors import ModelError, ValidationError
from tfsd.sagemaker.instances.http_client import Response
from tfsd.sagemaker.resources import held
from tfsd.sagemaker.state import ACCOUNT

MAX_ANSWER_BYTES = 6 * 1024 * 1024
HOLD_SECONDS = 50  # of the 60 that botocore waits for an answer

# Members of the request that reach the container, and by which header (hosting contract section 3)
TO_CONTAINER = {
    "ContentType": "Content-Type",
    "Accept": "Accept",
    "CustomAttributes": "X-Amzn-SageMaker-Custom-Attributes",
    "TargetModel": "X-Amzn-SageMaker-Target-Model",
    "TargetVariant": "X-Amzn-SageMaker-Target-Variant",
    "InferenceId": "X-Amzn-SageMaker-Inference-Id",
    "SessionId": "X-Amzn-SageMaker-Session-Id",
}


def find_endpoint(call: Call, request: dict[str, Any], asynchronous: bool = False) -> Endpoint:
    """The endpoint in service that a request names, waited for while it is being created. Raises ValidationError."""
    name = request["EndpointName"]
    record = held(
        lambda: call.emulator.state.endpoints.get(name),
        "EndpointStatus",
        {"Creating", "SystemUpdating"},
        seconds=HOLD_SECONDS,
    )
    endpoint = call.emulator.endpoints.find(name)
    if endpoint is None or endpoint.deployment is None:
        why = f" Its status is {record['EndpointStatus']}, not InService." if record else ""
        raise ValidationError(f"Endpoint {name} of account {ACCOUNT} not found.{why}")
    if ("AsyncInferenceConfig" in endpoint.config) != asynchronous:
        raise ValidationError(
            f"Endpoint {name} is not an asynchronous one; use InvokeEndpoint."
            if asynchronous
            else f"Endpoint {name} is asynchronous; use InvokeEndpointAsync."
        )
    if request.get("InferenceComponentName"):
        raise ValidationError(f"Endpoint {name} has no inference components.")
    return endpoint


def container_headers(request: dict[str, Any]) -> dict[str, str]:
    return {header: request[member] for member, header in TO_CONTAINER.items() if request.get(member)}


def invocation(request: dict[str, Any], **more: Any) -> Invocation:
    """What the endpoint is asked."""
    return Invocation(
        request["Body"],
        container_headers(request),
        target_variant=request.get("TargetVariant"),
        target_model=request.get("TargetModel"),
        target_container=request.get("TargetContainerHostname"),
        **more,
    )


def session_headers(response: Response) -> dict[str, Any]:
    return {
        "NewSessionId": response.header("X-Amzn-SageMaker-New-Session-Id"),
        "ClosedSessionId": response.header("X-Amzn-SageMaker-Closed-Session-Id"),
    }


def check_answer_size(body: bytes) -> None:
    """Raises ModelError for an answer that the runtime does not hand on."""
    if len(body) > MAX_ANSWER_BYTES:
        text = f"The response has {len(body)} bytes; the limit is {MAX_ANSWER_BYTES}."
        raise ModelError(
            f'Received server error (0) from primary with message "{text}"',
            OriginalStatusCode=0,
            OriginalMessage=text,
        )
