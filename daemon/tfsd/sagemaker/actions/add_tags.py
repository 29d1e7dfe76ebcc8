"""AddTags: a key that is there gets its new value."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.errors import ResourceLimitExceeded
from tfsd.sagemaker.resources import find_by_arn

MAX_TAGS = 50


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    table, name, record = find_by_arn(call, request["ResourceArn"])
    tags = {tag["Key"]: tag["Value"] for tag in [*record.get("Tags", ()), *request["Tags"]]}
    if len(tags) > MAX_TAGS:
        raise ResourceLimitExceeded(f"A resource has at most {MAX_TAGS} tags.")
    record["Tags"] = [{"Key": key, "Value": value} for key, value in tags.items()]
    table.put(name, record)
    return record
