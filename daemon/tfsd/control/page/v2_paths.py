"""The description of the Open Inference Protocol (SAGEMAKER_TFS_V2_API)."""

from __future__ import annotations

from typing import Any

from tfsd.control.page.responses import JSON, errors, json_answer, name_parameter
from tfsd.control.page.rest_paths import OF_A_PREDICTION, OF_A_QUESTION, VERSION

BINARY = "application/octet-stream"
PARAMETERS: dict[str, Any] = {"type": "object"}
TENSOR: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "parameters": PARAMETERS,
        "data": {"type": "array"},
    },
    "required": ["name", "datatype", "shape"],
}
WANTED: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "parameters": PARAMETERS},
    "required": ["name"],
}
REQUEST: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "parameters": PARAMETERS,
        "inputs": {"type": "array", "items": TENSOR, "minItems": 1, "maxItems": 1024},
        "outputs": {"type": "array", "items": WANTED, "maxItems": 1024},
    },
    "required": ["inputs"],
}
RESPONSE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "outputs": {"type": "array", "items": TENSOR},
    },
    "required": ["model_name", "model_version", "outputs"],
}


def v2_paths() -> dict[str, Any]:
    """The paths below `/v2`."""
    paths = {
        "/v2": _get("v2Server", "The server's name, version and extensions.", ("408", "413", "431")),
        "/v2/health/live": _get("v2Live", "Whether the container answers.", ()),
        "/v2/health/ready": _get("v2Ready", "Whether new requests should come.", ("503",)),
    }
    for of, stem, parameters in (
        ("", "/v2/models/{model_name}", [name_parameter()]),
        ("Version", "/v2/models/{model_name}/versions/{version}", [name_parameter(), VERSION]),
    ):
        metadata = _get(f"v2{of}Metadata", "The inputs and outputs of a signature.", OF_A_PREDICTION)
        signature = {"name": "signature_name", "in": "query", "schema": {"type": "string"}}
        metadata["get"]["parameters"] = [signature]
        ready = _get(f"v2{of}ModelReady", "Whether the model can be used.", OF_A_QUESTION)
        paths[stem] = {"parameters": parameters, **metadata}
        paths[f"{stem}/ready"] = {"parameters": parameters, **ready}
        paths[f"{stem}/infer"] = {"parameters": parameters, "post": _infer(f"v2{of}Infer")}
    return paths


def _get(name: str, summary: str, statuses: tuple[str, ...]) -> dict[str, Any]:
    responses = {"200": json_answer({"type": "object"}), **errors(statuses)}
    return {"get": {"operationId": name, "summary": summary, "responses": responses}}


def _infer(name: str) -> dict[str, Any]:
    length = {
        "name": "Inference-Header-Content-Length",
        "in": "header",
        "description": "Bytes of JSON, when binary tensors follow it.",
        "schema": {"type": "integer", "minimum": 0},
    }
    return {
        "operationId": name,
        "summary": "Run a signature on tensors.",
        "parameters": [length],
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": REQUEST}, BINARY: {"schema": {}}},
        },
        "responses": {
            "200": {
                "description": "The outputs.",
                "content": {JSON: {"schema": RESPONSE}, BINARY: {"schema": {}}},
            },
            **errors(OF_A_PREDICTION),
        },
    }
