"""JSON Schemas of what a signature takes and gives in TensorFlow Serving's REST API.

Owns the mapping of dtypes and shapes. Row form is `instances`, column form `inputs`; with one input the tensor may
stand without its name.
"""

from __future__ import annotations

from typing import Any

from tfsd.control.page.signatures import Signature, Tensor

INTEGERS = {
    "DT_INT8": (-(2**7), 2**7 - 1),
    "DT_UINT8": (0, 2**8 - 1),
    "DT_INT16": (-(2**15), 2**15 - 1),
    "DT_UINT16": (0, 2**16 - 1),
    "DT_INT32": (-(2**31), 2**31 - 1),
    "DT_UINT32": (0, 2**32 - 1),
    "DT_INT64": (-(2**63), 2**63 - 1),
    "DT_UINT64": (0, 2**64 - 1),
}
FLOATS = {"DT_HALF", "DT_BFLOAT16", "DT_FLOAT", "DT_DOUBLE"}
TEXT_OR_BYTES: dict[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"b64": {"type": "string", "contentEncoding": "base64"}},
            "required": ["b64"],
        },
    ]
}
Schema = dict[str, Any]


def request_schema(name: str, signature: Signature) -> Schema:
    """The schema of a request for a signature called `name`."""
    properties: Schema = {"signature_name": {"const": name}}
    if signature.method != "predict":
        example = {
            "type": "object",
            "description": "A tf.Example: a value or a list of values for each feature.",
        }
        properties |= {"examples": {"type": "array", "minItems": 1, "items": example}, "context": example}
        return _object(properties, _needed(name, "examples"))
    row, column = ({**properties, key: form(signature.inputs)} for key, form in FORMS.items())
    forms = [_object(row, _needed(name, "instances"))] if _has_batch(signature) else []
    return {"anyOf": [*forms, _object(column, _needed(name, "inputs"))]}


def response_schema(signature: Signature) -> Schema:
    """The schema of the answer: `predictions` for row form, `outputs` for column form, or `results`."""
    if signature.method != "predict":
        return _object({"results": {"type": "array"}}, ["results"])
    return {"anyOf": [_object({"predictions": {}}, ["predictions"]), _object({"outputs": {}}, ["outputs"])]}


def _needed(name: str, key: str) -> list[str]:
    return [key] if name == "serving_default" else ["signature_name", key]


def _has_batch(signature: Signature) -> bool:
    """Whether each input may have the batch as its first dimension, which row form needs."""
    return all(tensor.shape is None or tensor.shape for tensor in signature.inputs.values())


def _rows(inputs: dict[str, Tensor]) -> Schema:
    """`instances`: each input without its first dimension, in an object unless there is only one."""
    one = {name: _nested(tensor, (tensor.shape or ())[1:]) for name, tensor in inputs.items()}
    named = _object(one, list(one))
    instance = {"anyOf": [*one.values(), named]} if len(one) == 1 else named
    return {"type": "array", "minItems": 1, "items": instance}


def _columns(inputs: dict[str, Tensor]) -> Schema:
    """`inputs`: each input whole."""
    all_of = {name: _nested(tensor, tensor.shape or ()) for name, tensor in inputs.items()}
    named = _object(all_of, list(all_of))
    return {"anyOf": [*all_of.values(), named]} if len(all_of) == 1 else named


FORMS = {"instances": _rows, "inputs": _columns}


def _nested(tensor: Tensor, shape: tuple[int, ...]) -> Schema:
    """Lists in lists for a shape; anything for an unknown rank."""
    if tensor.shape is None:
        return {}
    schema = _value(tensor.dtype)
    for size in reversed(shape):
        schema = {"type": "array", "items": schema, "minItems": max(size, 1)}
        if size >= 0:
            schema["maxItems"] = size
            schema["minItems"] = size
    return schema


def _value(dtype: str) -> Schema:
    if dtype in INTEGERS:
        low, high = INTEGERS[dtype]
        return {"type": "integer", "minimum": low, "maximum": high}
    if dtype in FLOATS:
        return {"type": "number"}
    if dtype == "DT_BOOL":
        return {"type": "boolean"}
    return TEXT_OR_BYTES if dtype == "DT_STRING" else {}


def _object(properties: Schema, required: list[str]) -> Schema:
    return {"type": "object", "properties": properties, "required": required}
