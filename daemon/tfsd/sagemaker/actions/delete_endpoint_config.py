"""DeleteEndpointConfig: endpoints that were made from it keep a copy of their own and go on."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.resources import ENDPOINT_CONFIG


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    ENDPOINT_CONFIG.get(call, request["EndpointConfigName"])
    ENDPOINT_CONFIG.table(call).delete(request["EndpointConfigName"])
    return {}
