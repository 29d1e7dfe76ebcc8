"""CreateEndpoint: begin to start what an endpoint configuration says."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.resources import ENDPOINT, ENDPOINT_CONFIG
from tfsd.sagemaker.state import now


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    name = request["EndpointName"]
    ENDPOINT.refuse_existing(call, name)
    config = ENDPOINT_CONFIG.get(call, request["EndpointConfigName"])
    record = {
        **request,
        "EndpointArn": ENDPOINT.arn(call, name),
        "CreationTime": now(),
        "LastDeploymentConfig": request.get("DeploymentConfig"),
    }
    call.emulator.endpoints.create(record, config)
    return record
