"""Captured invocations as JSON lines: the format of SageMaker's data capture, written and read.

Owns the names in a line. Never opens a file, and knows nothing of sampling. Besides SageMaker's own names there are
`contentEncoding` of a body that was sent compressed, and `targetModel` on a multi-model endpoint.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import time
import uuid
from collections.abc import Collection
from typing import Any

CSV_TYPES = ("text/csv",)
JSON_TYPES = ("application/json", "application/jsonlines", "application/x-ndjson")
INPUT, OUTPUT = "INPUT", "OUTPUT"


@dataclasses.dataclass(frozen=True, slots=True)
class Body:
    """One side of an invocation; its content type may not be known. `encoding` is HTTP's content encoding."""

    data: bytes
    content_type: str | None = None
    encoding: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Invocation:
    """What a line says of an invocation. `response` is None when it was not captured, as that of a stream."""

    request: Body
    response: Body | None = None
    inference_id: str | None = None
    custom_attributes: str | None = None
    target_model: str | None = None


class BadCapture(ValueError):
    """A line that is no captured invocation with its input; the text says why."""


def line(invocation: Invocation, moment: float) -> str:
    """An invocation at `moment` (Unix time) as a line, without its end."""
    data = {"endpointInput": side(INPUT, invocation.request)}
    if invocation.response is not None:
        data["endpointOutput"] = side(OUTPUT, invocation.response)
    return json.dumps(
        event(data, invocation.inference_id, invocation.custom_attributes, moment, invocation.target_model)
    )


def event(
    data: dict[str, Any],
    inference_id: str | None,
    custom_attributes: str | None,
    moment: float,
    target_model: str | None = None,
) -> dict[str, Any]:
    """The object of a line around `captureData`."""
    metadata = {
        "eventId": str(uuid.uuid4()),
        "customAttributes": [custom_attributes] if custom_attributes else None,
        "inferenceId": inference_id or None,
        "inferenceTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment)),
        "targetModel": target_model,
    }
    return {"captureData": data, "eventMetadata": _known(metadata), "eventVersion": "0"}


def side(
    mode: str,
    body: Body,
    csv_types: Collection[str] = CSV_TYPES,
    json_types: Collection[str] = JSON_TYPES,
) -> dict[str, Any]:
    """`endpointInput` or `endpointOutput`: text of those media types as it is, Base64 for all else, and for what is
    not UTF-8."""
    media_type = (body.content_type or "").partition(";")[0].strip().lower()
    encoding, data = "BASE64", None
    for kind, types in (("CSV", csv_types), ("JSON", json_types)):
        if media_type in types and body.encoding is None and (text := _text(body.data)) is not None:
            encoding, data = kind, text
            break
    return _known(
        {
            "observedContentType": body.content_type,
            "contentEncoding": body.encoding,
            "mode": mode,
            "data": base64.b64encode(body.data).decode() if data is None else data,
            "encoding": encoding,
        }
    )


def read(text: str | bytes) -> Invocation:
    """The invocation that a line says. Raises BadCapture."""
    try:
        document = json.loads(text)
        data, metadata = document["captureData"], document["eventMetadata"]
        attributes = metadata.get("customAttributes") or [None]
        output = data.get("endpointOutput")
        return Invocation(
            _body(data["endpointInput"]),
            None if output is None else _body(output),
            metadata.get("inferenceId"),
            attributes[0],
            metadata.get("targetModel"),
        )
    except KeyError as error:
        raise BadCapture(f"it has no {error.args[0]}") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadCapture(f"it is not what data capture writes: {error}") from None


def _body(side: dict[str, Any]) -> Body:
    data = side["data"]
    raw = base64.b64decode(data, validate=True) if side["encoding"] == "BASE64" else data.encode()
    return Body(raw, side.get("observedContentType"), side.get("contentEncoding"))


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
