"""DescribeEndpointConfig: the record as it was created."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.resources import ENDPOINT_CONFIG


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    return ENDPOINT_CONFIG.get(call, request["EndpointConfigName"])
