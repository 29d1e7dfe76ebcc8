"""ListEndpointConfigs, with every filter and sort key, in pages."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.resources import ENDPOINT_CONFIG, page


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    records, token = page(request, ENDPOINT_CONFIG.table(call), "EndpointConfigName")
    return {"EndpointConfigs": records, "NextToken": token}
