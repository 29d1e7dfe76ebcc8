"""What operations of the API's description share: the errors that may be answered, and the parameter of a name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

JSON = "application/json"
ERRORS = {
    "400": "The request cannot be read, or the model does not take it; the text says what and where.",
    "404": "There is no such model or version; the text says what there is.",
    "406": "The response has no form in a type that Accept names.",
    "408": "The body did not arrive in time.",
    "412": "A value cannot be a tensor of the model's input (`input_fn` endpoints).",
    "413": "The body is too large, or would be when it is decompressed.",
    "415": "The content type, charset or content encoding is not supported.",
    "424": "The model's code reports a failure of something that it depends on.",
    "429": "The model server has no capacity left.",
    "431": "The headers are too large.",
    "500": "The model's code or the model failed; the text says how.",
    "503": "The model is not available now; Retry-After says when to try again.",
    "504": "The request took longer than its time limit.",
}


def errors(statuses: Iterable[str], *more: str) -> dict[str, Any]:
    """Responses of these error statuses."""
    error = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        status: {"description": ERRORS[status], "content": error} for status in sorted({*statuses, *more})
    }


def json_answer(schema: dict[str, Any]) -> dict[str, Any]:
    """A response of JSON."""
    return {"description": "The response.", "content": {JSON: {"schema": schema}}}


def name_parameter() -> dict[str, Any]:
    """The model that a path names."""
    return {
        "name": "model_name",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
    }
