"""The endpoint's API as an OpenAPI 3.1 document: `GET /openapi.json`.

Owns the description of the contract's paths; what models take and give is `schemas`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tfsd import __version__
from tfsd.control.page.responses import JSON, errors, json_answer, name_parameter
from tfsd.control.page.rest_paths import rest_paths
from tfsd.control.page.schemas import request_schema, response_schema
from tfsd.control.page.signatures import Signature
from tfsd.control.page.v2_paths import v2_paths
from tfsd.plan import Model, Plan
from tfsd.settings import Settings

TEXT_TYPES = {
    "application/jsonlines": "One value a line; each is an instance.",
    "application/x-ndjson": "One value a line; each is an instance.",
    "text/csv": "RFC 4180; each row is an instance. With `text/csv; header=present` the first row has names.",
}
ANSWER_TYPES = {
    "application/jsonlines": "The JSON response on one line.",
    "application/x-ndjson": "One prediction a line.",
    "text/csv": "One prediction a line as CSV.",
}
BINARY_TYPES = {
    "application/x-npy": "One array as numpy.save writes it; its first dimension is the batch.",
    "application/x-npz": "Arrays by name as numpy.savez writes them.",
}
EXAMPLES_TYPE = {"application/x-tfexample": "A serialised tf.Example, or several as TFRecords."}
OF_EVERY_MODEL = ("400", "404", "406", "408", "413", "415", "429", "431", "503", "504")
OF_CODE = ("412", "424", "500")
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


def document(
    settings: Settings, plan: Plan | None, signatures: Mapping[str, Mapping[str, Signature]]
) -> dict[str, Any]:
    """The description of an endpoint with these models; `signatures` has those of each model by name."""
    models = list(plan.models.values()) if plan else []
    schemas = {"Error": _error_schema()}
    for model in models:
        for name, signature in signatures.get(model.name, {}).items():
            stem = _component(model.name, name, schemas)
            schemas[f"{stem}.request"] = request_schema(name, signature)
            schemas[f"{stem}.response"] = response_schema(signature)
    code = any(plan is not None and plan.pools[model.pool].script is not None for model in models)
    paths = {**_health_paths(), **_description_paths(settings)}
    if settings.multi_model:
        paths |= _model_paths(_invocation(list(schemas), code=True, named=True))
    else:
        paths["/invocations"] = {"post": _invocation(list(schemas), code, named=False)}
    if settings.rest_api:
        paths |= rest_paths(list(schemas), code or settings.multi_model)
    if settings.v2_api:
        paths |= v2_paths()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "TensorFlow models under SageMaker's hosting contract",
            "version": __version__,
            "description": _introduction(models),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _introduction(models: Iterable[Model]) -> str:
    names = ", ".join(f"`{model.name}` (versions {', '.join(map(str, model.versions))})" for model in models)
    return f"Models: {names}." if names else "No model is loaded."


def _component(model: str, signature: str, taken: Mapping[str, Any]) -> str:
    """A component's name, of the characters that OpenAPI allows, that is not taken."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in f"{model}.{signature}")
    name, number = plain, 1
    while f"{name}.request" in taken:
        number += 1
        name = f"{plain}-{number}"
    return name


def _error_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"error": {"type": "string", "description": "What is wrong, where, and what to do."}},
        "required": ["error"],
    }


def _invocation(schemas: list[str], code: bool, *, named: bool) -> dict[str, Any]:
    """The operation that runs a model. With code of the user's any type of body may be taken and given."""
    requests = [{"$ref": f"#/components/schemas/{name}"} for name in schemas if name.endswith(".request")]
    responses = [{"$ref": f"#/components/schemas/{name}"} for name in schemas if name.endswith(".response")]
    content: dict[str, Any] = {JSON: {"schema": {"anyOf": [*requests, {}]} if requests else {}}}
    content |= {kind: _text(doc) for kind, doc in TEXT_TYPES.items()}
    content |= {kind: _binary(doc) for kind, doc in (BINARY_TYPES | EXAMPLES_TYPE).items()}
    answers: dict[str, Any] = {JSON: {"schema": {"anyOf": responses} if responses and not code else {}}}
    answers |= {kind: _text(doc) for kind, doc in ANSWER_TYPES.items()}
    answers |= {kind: _binary(doc) for kind, doc in BINARY_TYPES.items()}
    if code:
        content["*/*"] = answers["*/*"] = {"schema": {}}
    parameters = [name_parameter() if named else _attributes_parameter()]
    return {
        "operationId": "invoke",
        "summary": "Run a model.",
        "parameters": parameters,
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "The model's response.", "content": answers},
            **errors(OF_EVERY_MODEL, *(OF_CODE if code else ())),
        },
    }


def _text(doc: str) -> dict[str, Any]:
    return {"schema": {"type": "string", "description": doc}}


def _binary(doc: str) -> dict[str, Any]:
    """Bytes, which have no schema (OpenAPI 3.1, "Considerations for File Uploads")."""
    return {"schema": {"description": doc}}


def _attributes_parameter() -> dict[str, Any]:
    pair = (
        r"tfs-model-name=[^,]+|tfs-model-version=[0-9]+|tfs-method=(predict|classify|regress)"
        r"|tfs-input-name=[^,]+|tfs-signature-name=[^,]+"
    )
    return {
        "name": ATTRIBUTES,
        "in": "header",
        "required": False,
        "description": "Which model, version and method: `tfs-model-name=NAME,tfs-model-version=3,tfs-method=predict`.",
        "schema": {"type": "string", "maxLength": 1024, "examples": ["tfs-method=predict"], "pattern": pair},
    }


def _health_paths() -> dict[str, Any]:
    def get(name: str, summary: str, good: str, *bad: str) -> dict[str, Any]:
        answers = {"200": {"description": good}, **errors(bad)}
        return {"get": {"operationId": name, "summary": summary, "responses": answers}}

    return {
        "/ping": get("ping", "Whether every model can be served.", "Healthy.", "503"),
        "/livez": get("livez", "Whether the container answers, whatever its models do.", "It does."),
        "/readyz": get(
            "readyz",
            "Whether new requests should come: as `/ping`, and not while it drains.",
            "Ready.",
            "503",
        ),
        "/startupz": get("startupz", "Whether it has been healthy since its start.", "It has been.", "503"),
    }


def _description_paths(settings: Settings) -> dict[str, Any]:
    def get(name: str, summary: str, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
        answer = {"description": "The response.", "content": {kind: {"schema": schema}}}
        return {"get": {"operationId": name, "summary": summary, "responses": {"200": answer}}}

    parameters = {
        "type": "object",
        "properties": {
            "MaxConcurrentTransforms": {"type": "integer"},
            "BatchStrategy": {"type": "string"},
            "MaxPayloadInMB": {"type": "integer"},
        },
    }
    paths = {
        "/execution-parameters": get(
            "executionParameters", "What batch transform may ask of this container.", JSON, parameters
        ),
        "/metrics": get("metrics", "Metrics for Prometheus.", "text/plain", {"type": "string"}),
        "/openapi.json": get("openapi", "This description.", JSON, {"type": "object"}),
    }
    if settings.status_page:
        paths["/status.json"] = get("status", "What the status page shows.", JSON, {"type": "object"})
    return paths


def _model_paths(invoke: dict[str, Any]) -> dict[str, Any]:
    """Multi-model endpoints: contract section 4."""
    model = {
        "type": "object",
        "properties": {"modelName": {"type": "string"}, "modelUrl": {"type": "string"}},
        "required": ["modelName", "modelUrl"],
    }
    load = {
        "type": "object",
        "properties": {
            "model_name": {"type": "string", "minLength": 1},
            "url": {"type": "string", "minLength": 1},
        },
        "required": ["model_name", "url"],
    }
    conflict = {"description": "The model is loaded, or is being loaded."}
    full = {"description": "Memory, disk or ports do not suffice; unload models and try again."}
    page = {
        "type": "object",
        "properties": {
            "models": {"type": "array", "items": model},
            "nextPageToken": {"type": "string"},
        },
        "required": ["models"],
    }
    return {
        "/models": {
            "get": {
                "operationId": "listModels",
                "summary": "The loaded models, by name.",
                "parameters": [{"name": "next_page_token", "in": "query", "schema": {"type": "string"}}],
                "responses": {"200": json_answer(page), **errors(("400",))},
            },
            "post": {
                "operationId": "loadModel",
                "summary": "Load a model.",
                "requestBody": {"required": True, "content": {JSON: {"schema": load}}},
                "responses": {
                    "200": {"description": "The model can be invoked."},
                    "409": conflict,
                    "507": full,
                    **errors(("400", "404", "408", "413", "503", "504")),
                },
            },
        },
        "/models/{model_name}": {
            "parameters": [name_parameter()],
            "get": {
                "operationId": "getModel",
                "summary": "One loaded model.",
                "responses": {"200": json_answer(model), **errors(("404",))},
            },
            "delete": {
                "operationId": "unloadModel",
                "summary": "Unload a model.",
                "responses": {"200": {"description": "The model is gone."}, **errors(("404", "503"))},
            },
        },
        "/models/{model_name}/invoke": {"post": invoke},
    }
