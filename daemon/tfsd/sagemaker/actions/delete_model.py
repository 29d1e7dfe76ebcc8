"""DeleteModel: endpoints that were made from it keep a copy of their own and go on."""

from __future__ import annotations

from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.resources import MODEL


def run(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    MODEL.get(call, request["ModelName"])
    MODEL.table(call).delete(request["ModelName"])
    return {}
