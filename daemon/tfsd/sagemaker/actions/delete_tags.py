"""DeleteTags: keys that are not there are no error."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.resources import find_by_arn


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    table, name, record = find_by_arn(call, request["ResourceArn"])
    record["Tags"] = [tag for tag in record.get("Tags", ()) if tag["Key"] not in request["TagKeys"]]
    table.put(name, record)
    return {}
