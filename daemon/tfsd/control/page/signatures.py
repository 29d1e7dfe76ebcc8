"""What a model takes and gives: its SignatureDefs, asked of its model server and kept by version.

Owns the reading of TensorFlow Serving's GetModelMetadata answer. Shapes have -1 for a dimension that is not
known, and are None for an unknown rank.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
from typing import Any
from urllib.parse import quote

from tfsd.control.connections import LocalConnection, fetch
from tfsd.plan import Model

TIMEOUT_SECONDS = 5.0
METHODS = {
    "tensorflow/serving/predict": "predict",
    "tensorflow/serving/classify": "classify",
    "tensorflow/serving/regress": "regress",
}


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One input or output: `dtype` is TensorFlow's name of it, such as DT_FLOAT."""

    dtype: str
    shape: tuple[int, ...] | None


@dataclasses.dataclass(frozen=True)
class Signature:
    """One signature; `method` is predict, classify or regress."""

    method: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


class Signatures:
    """The signatures of the versions that were asked for, by model and version."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, int], dict[str, Signature]] = {}

    def of(self, model: Model) -> dict[str, Signature]:
        """The signatures of the model's latest version, by name; empty while no model server tells them."""
        key = model.name, model.base_path, model.latest
        if key not in self._known:
            for server in model.servers:
                signatures = _ask(model.name, server.rest_port)
                if signatures:
                    self._known[key] = signatures
                    break
        return self._known.get(key, {})

    def forget_all_but(self, models: set[str]) -> None:
        """Keep no more than the signatures of these models."""
        self._known = {key: value for key, value in self._known.items() if key[0] in models}


def _ask(name: str, port: int) -> dict[str, Signature]:
    try:
        status, body = fetch(
            LocalConnection(port, TIMEOUT_SECONDS), f"/v1/models/{quote(name, safe='')}/metadata"
        )
        return parse(json.loads(body)) if status == 200 else {}
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return {}


def parse(document: Any) -> dict[str, Signature]:
    """Read the answer to GET /v1/models/NAME/metadata; signatures that cannot be called are left out.

    Raises KeyError, TypeError or ValueError for anything else.
    """
    found = document["metadata"]["signature_def"]["signature_def"]
    return {
        name: Signature(METHODS[value["method_name"]], _tensors(value["inputs"]), _tensors(value["outputs"]))
        for name, value in sorted(found.items())
        if value.get("method_name") in METHODS and value.get("inputs")
    }


def _tensors(values: dict[str, Any]) -> dict[str, Tensor]:
    return {
        name: Tensor(value["dtype"], _shape(value.get("tensor_shape") or {}))
        for name, value in sorted(values.items())
    }


def _shape(value: dict[str, Any]) -> tuple[int, ...] | None:
    if value.get("unknown_rank"):
        return None
    return tuple(int(dimension["size"]) for dimension in value.get("dim", ()))
