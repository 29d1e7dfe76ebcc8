"""StopTransformJob: the job sends nothing more and stops its instances. What has been stored stays."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.resources import TRANSFORM_JOB


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    call.emulator.transforms.stop(TRANSFORM_JOB.get(call, request["TransformJobName"]))
    return {}
