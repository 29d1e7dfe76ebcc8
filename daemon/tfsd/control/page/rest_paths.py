"""The description of TensorFlow Serving's REST API (SAGEMAKER_TFS_REST_API)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tfsd.attributes import METHODS
from tfsd.control.page.responses import JSON, errors, json_answer, name_parameter

VERSION: dict[str, Any] = {
    "name": "version",
    "in": "path",
    "required": True,
    "schema": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
}
OF_A_QUESTION = ("400", "404", "408", "413", "431", "503", "504")
OF_A_PREDICTION = (*OF_A_QUESTION, "415", "429", "500")


def rest_paths(schemas: Iterable[str], code: bool) -> dict[str, Any]:
    """The paths below `/v1/models`. `schemas` are the names of the described requests and responses; with user `code`
    bodies and responses may be of any type."""
    models = {"type": "object", "properties": {"models": {"type": "array", "items": {"type": "string"}}}}
    listed = {"200": json_answer(models), **errors(("408", "413", "431"))}
    paths: dict[str, Any] = {
        "/v1/models": {
            "get": {"operationId": "restList", "summary": "The models, by name.", "responses": listed}
        }
    }
    names = list(schemas)
    for of, stem, parameters in (
        ("", "/v1/models/{model_name}", [name_parameter()]),
        ("Version", "/v1/models/{model_name}/versions/{version}", [name_parameter(), VERSION]),
    ):
        for tail, name, summary in (
            ("", "Status", "The states of a model's versions."),
            ("/metadata", "Metadata", "A version's signatures."),
        ):
            responses = {"200": json_answer({"type": "object"}), **errors(OF_A_QUESTION)}
            operation = {"operationId": f"rest{of}{name}", "summary": summary, "responses": responses}
            paths[stem + tail] = {"parameters": parameters, "get": operation}
        for method in METHODS:
            operation = {"operationId": f"rest{of}{method.title()}", **_inference(method, names, code)}
            paths[f"{stem}:{method}"] = {"parameters": parameters, "post": operation}
    return paths


def _inference(method: str, schemas: list[str], code: bool) -> dict[str, Any]:
    requests = [{"$ref": f"#/components/schemas/{name}"} for name in schemas if name.endswith(".request")]
    responses = [{"$ref": f"#/components/schemas/{name}"} for name in schemas if name.endswith(".response")]
    content: dict[str, Any] = {JSON: {"schema": {"anyOf": requests} if requests and not code else {}}}
    answers: dict[str, Any] = {JSON: {"schema": {"anyOf": responses} if responses and not code else {}}}
    if code:
        content["*/*"] = answers["*/*"] = {"schema": {}}
    return {
        "summary": f"Run a model: TensorFlow Serving's `{method}`"
        + (", or code of the model's own." if code else "."),
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "The model's response.", "content": answers},
            **errors(OF_A_PREDICTION, *(("406", "412", "424") if code else ())),
        },
    }
