"""DeleteEndpoint: at any time, also while the endpoint is being created or updated."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.resources import ENDPOINT


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    name = request["EndpointName"]
    ENDPOINT.get(call, name)
    endpoint = call.emulator.endpoints.find(name)
    if endpoint:
        call.emulator.endpoints.delete(endpoint)
    else:
        ENDPOINT.table(call).delete(name)
    return {}
