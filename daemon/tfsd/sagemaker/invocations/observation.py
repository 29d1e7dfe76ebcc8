"""What is noted of an invocation of a real-time endpoint: metrics always, its data where the configuration says so."""

from __future__ import annotations

import time
from typing import Any

from tfsd.capture_format import Body
from tfsd.sagemaker.call import Call
from tfsd.sagemaker.endpoints.endpoint import Endpoint, Invocation
from tfsd.sagemaker.endpoints.variant import Variant
from tfsd.sagemaker.errors import ModelError
from tfsd.sagemaker.instances.http_client import Response


class Observation:
    """One invocation, from the moment that its request was read. `request` are the members of the API's request."""

    def __init__(self, call: Call, endpoint: Endpoint, request: dict[str, Any]) -> None:
        self._call, self._endpoint, self._request = call, endpoint, request
        self._began = time.monotonic()
        self._sent = self._began

    def invoke(self, invocation: Invocation) -> tuple[Variant, Response]:
        """`endpoint.invoke`, timed. Raises AwsError as it does."""
        variant = self._endpoint.choose(invocation)
        self._sent = time.monotonic()
        try:
            return variant, self._endpoint.send(variant, invocation)
        except ModelError:
            self._count(variant, 500)
            raise

    def read(self, variant: Variant, response: Response) -> bytes:
        """All of the answer. Raises ModelError when its end does not come."""
        try:
            return self._endpoint.read(variant, response)
        except ModelError:
            self._count(variant, 500)
            raise

    def answered(self, variant: Variant, response: Response, body: bytes | None = None) -> None:
        """The answer is here: all of it, or (without `body`) its beginning, when it is streamed."""
        self._count(variant, response.status)
        config = self._endpoint.config.get("DataCaptureConfig")
        if config and body is not None and response.status < 400:
            self._call.emulator.data_capture.capture(
                config,
                self._endpoint.record["EndpointName"],
                variant.name,
                Body(self._request["Body"], self._request.get("ContentType")),
                Body(body, response.header("Content-Type")),
                inference_id=self._request.get("InferenceId"),
                custom_attributes=self._request.get("CustomAttributes"),
            )

    def _count(self, variant: Variant, status: int) -> None:
        now = time.monotonic()
        self._call.emulator.metrics.invocation(
            self._endpoint.record["EndpointArn"].split(":")[3],
            self._endpoint.record["EndpointName"],
            variant.name,
            variant.config_name,
            status=status,
            instances=len(variant.instances),
            model_seconds=now - self._sent,
            overhead_seconds=self._sent - self._began,
        )
