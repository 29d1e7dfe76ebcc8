"""InvokeEndpointAsync: queue a request, and say where its answer will be."""

from __future__ import annotations

import time
import uuid
from typing import Any
from urllib.parse import quote

from tfsd.sagemaker.asynchronous.queue import DEFAULT_TIMEOUT_SECONDS, DEFAULT_TTL_SECONDS, AsyncRequest
from tfsd.sagemaker.call import Call
from tfsd.sagemaker.errors import ValidationError
from tfsd.sagemaker.runtime import container_headers, find_endpoint


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    endpoint = find_endpoint(call, request, asynchronous=True)
    if bool(request.get("Body")) == bool(request.get("InputLocation")):
        raise ValidationError("The input is either InputLocation or Body; one of them must be given.")
    output = endpoint.config["AsyncInferenceConfig"].get("OutputConfig", {})
    inference_id = request.get("InferenceId") or str(uuid.uuid4())
    locations = _locations(output, request, inference_id)
    queued = AsyncRequest(
        endpoint=request["EndpointName"],
        region=call.region,
        inference_id=inference_id,
        headers={**container_headers(request), "X-Amzn-SageMaker-Inference-Id": inference_id},
        body=request.get("Body") or None,
        input_location=request.get("InputLocation"),
        output_location=locations[0],
        failure_location=locations[1],
        received=time.time(),
        ttl=request.get("RequestTTLSeconds", DEFAULT_TTL_SECONDS),
        timeout=request.get("InvocationTimeoutSeconds", DEFAULT_TIMEOUT_SECONDS),
    )
    call.emulator.asynchronous.submit(queued)
    return {"InferenceId": inference_id, "OutputLocation": locations[0], "FailureLocation": locations[1]}


def _locations(output: dict[str, Any], request: dict[str, Any], inference_id: str) -> tuple[str, str | None]:
    """Where the answer goes, and where an error goes, if the configuration has a place for it."""
    if not output.get("S3OutputPath"):
        raise ValidationError("The endpoint's AsyncInferenceConfig has no S3OutputPath.")
    name = quote(inference_id, safe="")
    filename = request.get("Filename") or f"{name}.out"
    folder = request.get("S3OutputPathExtension", "").strip("/")
    place = "/".join(part for part in (output["S3OutputPath"].rstrip("/"), folder, filename) if part)
    failure = output.get("S3FailurePath")
    return place, f"{failure.rstrip('/')}/{name}-error.out" if failure else None
