"""DescribeTransformJob: the job as it was asked for, its status and its reason. Held while the job runs."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.resources import TRANSFORM_JOB, held
from tfsd.sagemaker.transform.transforms import UNDER_WAY


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    name = request["TransformJobName"]
    record = TRANSFORM_JOB.get(call, name)
    return held(lambda: TRANSFORM_JOB.table(call).get(name), "TransformJobStatus", UNDER_WAY) or record
