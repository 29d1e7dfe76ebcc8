"""ListTags: there are so few that one page has them all."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.resources import find_by_arn


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    _, _, record = find_by_arn(call, request["ResourceArn"])
    return {"Tags": record.get("Tags", [])}
