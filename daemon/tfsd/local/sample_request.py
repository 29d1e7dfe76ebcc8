"""A request that a model can answer, made from its signature: the right names, types and shapes, with zeros."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import requests

SIGNATURE = "serving_default"
VALUES: dict[str, Any] = {"DT_STRING": "", "DT_BOOL": False, "DT_FLOAT": 0.0, "DT_DOUBLE": 0.0}


def sample_request(model: str, rest_port: int) -> dict[str, Any] | None:
    """A body in the column form of TensorFlow Serving's predict API, a batch of one.

    None when the model server cannot be asked, or when the model has no signature that JSON can serve.
    """
    url = f"http://127.0.0.1:{rest_port}/v1/models/{quote(model, safe='')}/metadata"
    try:
        signatures = requests.get(url, timeout=5).json()["metadata"]["signature_def"]["signature_def"]
    except (requests.RequestException, KeyError, ValueError):
        return None
    inputs = signatures.get(SIGNATURE, {}).get("inputs")
    return {"inputs": {name: _zeros(info) for name, info in inputs.items()}} if inputs else None


def _zeros(info: dict[str, Any]) -> Any:
    """Nested lists of zeros for one `TensorInfo` in JSON form; unknown dimensions are 1."""
    dimensions = [max(int(dimension["size"]), 1) for dimension in info["tensor_shape"].get("dim", [])]
    value: Any = VALUES.get(info["dtype"], 0)
    for dimension in reversed(dimensions):
        value = [value] * dimension
    return value
