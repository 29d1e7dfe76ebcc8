"""CreateTransformJob: check everything that can be checked before, then begin."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.errors import ResourceInUse
from tfsd.sagemaker.resources import MODEL, TRANSFORM_JOB
from tfsd.sagemaker.transform import specification


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    name = request["TransformJobName"]
    arn = TRANSFORM_JOB.arn(call, name)
    if name in TRANSFORM_JOB.table(call):
        raise ResourceInUse(
            "Job name must be unique within an AWS account and region, and a job with this name already exists "
            f"({arn})"
        )
    model = MODEL.get(call, request["ModelName"])
    job = specification.read(request)
    record = {**request, "TransformJobArn": arn}
    call.emulator.transforms.start(record, job, model)
    return record
