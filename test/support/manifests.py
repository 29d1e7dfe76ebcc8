"""Manifests of deploy/: built by kubectl, and judged by the published schemas of each kind.

Kubernetes' own kinds by kubernetes-validate, others by a JSON schema that is made of the models that their projects
publish: KEDA's and the Prometheus Operator's as pydantic models (cloudcoil), KServe's as the tables of its SDK. A field
that a schema does not know is an error everywhere, as `kubectl apply --validate=strict` has it.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import kubernetes_validate.utils
import referencing
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
OLDEST = "1.31.0"
VERSIONS = (OLDEST, kubernetes_validate.latest_version())
KUBECTL = Path(sys.executable).with_name("kubectl")

# It reads all definitions of a version, megabytes of JSON, anew for each manifest.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)

Manifest = dict[str, Any]
Schema = dict[str, Any]

# Where a kind that is not Kubernetes' own has its model.
PYDANTIC = {
    ("keda.sh/v1alpha1", "ScaledObject"): "cloudcoil.models.keda.v1alpha1",
    ("monitoring.coreos.com/v1", "ServiceMonitor"): "cloudcoil.models.prometheus_operator.v1",
}
KSERVE = {
    ("serving.kserve.io/v1alpha1", "ClusterServingRuntime"): "V1alpha1ClusterServingRuntime",
    ("serving.kserve.io/v1beta1", "InferenceService"): "V1beta1InferenceService",
}


def built(directory: Path) -> list[Manifest]:
    """What `kubectl kustomize` makes of a directory. Fails with its error."""
    done = subprocess.run([KUBECTL, "kustomize", directory], capture_output=True, text=True)
    assert done.returncode == 0, f"kubectl kustomize {directory}: {done.stderr}"
    return loaded(done.stdout)


def loaded(text: str) -> list[Manifest]:
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def of_kind(manifests: list[Manifest], kind: str) -> Manifest:
    """The only one of its kind."""
    (found,) = (manifest for manifest in manifests if manifest["kind"] == kind)
    return found


def problems(manifest: Manifest) -> list[str]:
    """What its kind's schemas find wrong with it. Raises LookupError for a kind that has none."""
    kind = manifest["apiVersion"], manifest["kind"]
    if kind in PYDANTIC or kind in KSERVE:
        schema, definitions = custom_schema(kind)
        validator = jsonschema.Draft202012Validator(schema, registry=definitions @ referencing.Registry())
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]
    found = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{version}: {error.json_path}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError as error:
            raise LookupError(f"no schema for {kind}") from error
    return found


@functools.cache
def custom_schema(kind: tuple[str, str]) -> tuple[Schema, referencing.Resource[Any]]:
    """The schema of a kind, and Kubernetes' own definitions that it refers to."""
    contents = kubernetes_definitions()
    definitions = referencing.Resource.from_contents(contents)
    if kind in PYDANTIC:
        model = getattr(importlib.import_module(PYDANTIC[kind]), kind[1])
        return closed(model.model_json_schema(by_alias=True)), definitions
    return {
        "$schema": contents["$schema"],
        "$id": contents["$id"].replace("_definitions", "kserve"),
        "$ref": f"#/$defs/{KSERVE[kind]}",
        "$defs": kserve_definitions(),
    }, definitions


def closed(schema: Any) -> Any:
    """The schema, with fields that it does not name forbidden."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {name: closed(part) for name, part in schema.items()}
    if schema.get("type") == "object" and isinstance(schema.get("properties"), Mapping):
        parts.setdefault("additionalProperties", False)
    return parts


@functools.cache
def kubernetes_definitions() -> Schema:
    (package,) = importlib.import_module("kubernetes_validate").__path__
    schemas = Path(package) / "kubernetes-json-schema" / f"v{VERSIONS[-1]}-local-strict"
    contents: Schema = json.loads((schemas / "_definitions.json").read_text())
    return contents


@functools.cache
def kserve_definitions() -> dict[str, Schema]:
    """A schema for each model of KServe's SDK, read off the tables in its source: importing it takes a whole server."""
    spec = importlib.util.find_spec("kserve")
    assert spec, "kserve is not installed"
    assert spec.submodule_search_locations
    sources = Path(spec.submodule_search_locations[0], "models").glob("*.py")
    models = [
        node
        for path in sources
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    ]
    names = {model.name for model in models}
    return {model.name: object_schema(model, names) for model in models}


def object_schema(model: ast.ClassDef, names: set[str]) -> Schema:
    tables = {
        target.id: ast.literal_eval(node.value)
        for node in model.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in ("openapi_types", "attribute_map")
    }
    properties = {
        json_name: type_schema(tables["openapi_types"][name], names)
        for name, json_name in tables.get("attribute_map", {}).items()
    }
    return {"type": "object", "properties": properties, "additionalProperties": False}


def type_schema(name: str, models: set[str]) -> Schema:
    """The schema of a type as OpenAPI's generator for Python names it: `list[V1Probe]`, `dict(str, str)`, `int`."""
    simple = {"str": "string", "int": "integer", "bool": "boolean", "float": "number"}
    if name in simple:
        return {"type": simple[name]}
    if match := re.fullmatch(r"list\[(.+)\]", name):
        return {"type": "array", "items": type_schema(match[1], models)}
    if match := re.fullmatch(r"dict\(str, (.+)\)", name):
        return {"type": "object", "additionalProperties": type_schema(match[1], models)}
    if name in models:
        return {"$ref": f"#/$defs/{name}"}
    if name == "V1ObjectMeta":
        return kubernetes_schema("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
    if match := re.fullmatch(r"K8sIoApi([A-Z][a-z]+)V1([A-Z]\w+)", name):
        return kubernetes_schema(f"io.k8s.api.{match[1].lower()}.v1.{match[2]}")
    if match := re.fullmatch(r"V1([A-Z]\w+)", name):
        return kubernetes_schema(f"io.k8s.api.core.v1.{match[1]}")
    return {}  # quantities and statuses


def kubernetes_schema(name: str) -> Schema:
    return {"$ref": f"/api/_definitions.json#/$defs/{name}"}
