"""What a model server says of its model: the states of its versions (GET /v1/models/NAME).

Owns the reading of TensorFlow Serving's GetModelStatus answer. It never judges whether a model is healthy.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
from typing import Any
from urllib.parse import quote

from tfsd.control.connections import LocalConnection, fetch

AVAILABLE = "AVAILABLE"
END = "END"


class NoStatusError(Exception):
    """The model server gave no status; the text says what it did instead, `status` its HTTP status if it had one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """One version: its state (START, LOADING, AVAILABLE, UNLOADING, END) and its error, "" if it has none."""

    version: str
    state: str
    error: str = ""


def poll(model: str, port: int, timeout: float) -> tuple[VersionStatus, ...]:
    """Ask the model server on REST port `port`. `timeout` in seconds. Raises NoStatusError."""
    try:
        status, body = fetch(LocalConnection(port, timeout), "/v1/models/" + quote(model, safe=""))
    except (OSError, http.client.HTTPException) as error:
        raise NoStatusError(f"no response on port {port}: {error or type(error).__name__}") from error
    return parse(status, body)


def parse(status: int, body: bytes) -> tuple[VersionStatus, ...]:
    """Read the answer to GET /v1/models/NAME. Raises NoStatusError for anything that is not a status."""
    try:
        document = json.loads(body)
        if status != 200:
            raise NoStatusError(f"{status}: {document['error']}", status)
        return tuple(_version(entry) for entry in document["model_version_status"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        shown = body[:200].decode("utf-8", "replace").strip()
        raise NoStatusError(f"{status} with a body that is no status: {shown}", status) from None


def _version(entry: dict[str, Any]) -> VersionStatus:
    status = entry.get("status") or {}
    code, message = str(status.get("error_code", "OK")), str(status.get("error_message", ""))
    error = "" if code == "OK" else f"{code}: {message}" if message else code
    return VersionStatus(version=str(entry["version"]), state=str(entry["state"]), error=error)
