"""ListTransformJobs, with every filter and sort key, in pages."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.resources import TRANSFORM_JOB, page


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    records, token = page(request, TRANSFORM_JOB.table(call), "TransformJobName", "TransformJobStatus")
    return {"TransformJobSummaries": records, "NextToken": token}
