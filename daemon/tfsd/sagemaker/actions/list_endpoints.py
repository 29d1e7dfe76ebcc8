"""ListEndpoints, with every filter and sort key, in pages."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.resources import ENDPOINT, page


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    records, token = page(request, ENDPOINT.table(call), "EndpointName", "EndpointStatus")
    return {"Endpoints": records, "NextToken": token}
