"""A request that a signature can answer: the right names, types and shapes, with zeros."""

from __future__ import annotations

from typing import Any

from tfsd.control.page.signatures import Signature, Tensor

VALUES: dict[str, Any] = {"DT_STRING": "", "DT_BOOL": False, "DT_FLOAT": 0.0, "DT_DOUBLE": 0.0}
MAX_VALUES = 2000  # an image of 224 x 224 is no example that anybody reads


def example_request(signature: Signature) -> dict[str, Any] | None:
    """The body of a request with a batch of one: columns for predict, an example for classify and regress.

    Unknown dimensions are 1. None when the tensors are too large to be shown.
    """
    if signature.method != "predict":
        return {"examples": [{"feature": 0.0}]}
    if sum(map(_size, signature.inputs.values())) > MAX_VALUES:
        return None
    return {"inputs": {name: _zeros(tensor) for name, tensor in signature.inputs.items()}}


def _size(tensor: Tensor) -> int:
    size = 1
    for dimension in tensor.shape or ():
        size *= max(dimension, 1)
    return size


def _zeros(tensor: Tensor) -> Any:
    value: Any = VALUES.get(tensor.dtype, 0)
    for dimension in reversed(tensor.shape or ()):
        value = [value] * max(dimension, 1)
    return value
