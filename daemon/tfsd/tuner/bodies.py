"""What is sent: from a capture, a file of bodies, or the model's signature; and calls that hold n requests at once.

Owns formats of files and bodies. Never sends anything.
"""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
import mimetypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfsd.errors import StartError
from tfsd.local.captures import CaptureError, invocations
from tfsd.tuner.load import Request
from tfsd.words import counted

JSON, LINES, CSV = "application/json", "application/jsonlines", "text/csv"
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
SIGNATURE = "serving_default"
VALUES: dict[str, Any] = {"DT_STRING": "", "DT_BOOL": False, "DT_FLOAT": 0.5, "DT_DOUBLE": 0.5}
MOST_REQUESTS = 10_000


class BodiesError(StartError):
    """There is nothing to send; the text says where it was looked for and what to give."""


@dataclasses.dataclass(frozen=True)
class Bodies:
    """The requests of a tuning, where they are from, and what was assumed to make them.

    `takes_one_string` says of those made from a signature that its one input is a vector of strings.
    """

    requests: tuple[Request, ...]
    source: str
    assumptions: tuple[str, ...] = ()
    takes_one_string: bool = False


def from_file(path: Path, content_type: str | None = None) -> Bodies:
    """A capture (a directory, or lines of SageMaker's data capture), a line a request (.jsonl, .csv), or one body.

    Raises BodiesError, OSError.
    """
    if path.is_dir():
        return _captured(path)
    data = path.read_bytes()
    if not data.strip():
        raise BodiesError(f"{path} is empty")
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        if b'"captureData"' in data[: data.find(b"\n") if b"\n" in data else None]:
            return _captured(path)
        return _lines(path, data, content_type or JSON)
    if suffix == ".csv":
        return _lines(path, data, content_type or CSV)
    kind = content_type or (
        JSON if suffix == ".json" else mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    )
    return Bodies((Request(data, kind),), f"{path}, one body of {kind}")


def _captured(path: Path) -> Bodies:
    found = []
    try:
        for invocation in invocations(path):
            headers = {ATTRIBUTES: invocation.custom_attributes} if invocation.custom_attributes else {}
            if invocation.request.encoding:
                headers["Content-Encoding"] = invocation.request.encoding
            found.append(Request(invocation.request.data, invocation.request.content_type or JSON, headers))
            if len(found) == MOST_REQUESTS:
                break
    except CaptureError as error:
        raise BodiesError(str(error)) from None
    if not found:
        raise BodiesError(f"{path} has no captured request")
    return Bodies(tuple(found), f"{counted(len(found), 'captured request')} of {path}")


def _lines(path: Path, data: bytes, content_type: str) -> Bodies:
    lines = [line for line in data.splitlines() if line.strip()][:MOST_REQUESTS]
    return Bodies(
        tuple(Request(line, content_type) for line in lines),
        f"{path}, {counted(len(lines), 'line')}, each a request of {content_type}",
    )


def from_signature(metadata: Mapping[str, Any]) -> Bodies:
    """One request made from `serving_default` of TensorFlow Serving's metadata.

    Unknown dimensions are 1, strings empty, numbers one half or zero: `assumptions` says so. Raises BodiesError.
    """
    try:
        inputs = metadata["metadata"]["signature_def"]["signature_def"][SIGNATURE]["inputs"]
    except (KeyError, TypeError):
        inputs = None
    if not inputs:
        raise BodiesError(f"the model has no signature {SIGNATURE}; give requests with --requests FILE")
    assumed: list[str] = []
    columns = {name: _value(name, info, assumed) for name, info in sorted(inputs.items())}
    body = json.dumps({"inputs": columns}).encode()
    one_string = [_is_strings(info) for info in inputs.values()] == [True]
    return Bodies(
        (Request(body),), f"a request made from the signature {SIGNATURE}", tuple(assumed), one_string
    )


def _is_strings(info: Mapping[str, Any]) -> bool:
    return info.get("dtype") == "DT_STRING" and len((info.get("tensor_shape") or {}).get("dim", ())) == 1


def _value(name: str, info: Mapping[str, Any], assumed: list[str]) -> Any:
    shape = info.get("tensor_shape") or {}
    sizes = [int(dimension["size"]) for dimension in shape.get("dim", ())]
    if shape.get("unknown_rank"):
        assumed.append(f"input {name} of unknown rank: a vector of 1")
        sizes = [1]
    unknown = [number for number, size in enumerate(sizes) if size < 0 and number]
    if unknown:
        assumed.append(
            f"input {name}: unknown dimensions {', '.join(map(str, unknown))} (from 0) taken as 1; "
            "what the model costs may depend on them"
        )
    dtype = info.get("dtype", "")
    if dtype == "DT_STRING":
        assumed.append(f"input {name}: strings are empty, which a model that parses them may refuse")
    value: Any = VALUES.get(dtype, 0)
    for size in reversed(sizes):
        value = [value] * max(size, 1)
    return value


def together(request: Request, size: int) -> bytes:
    """A body of TensorFlow Serving's own JSON that holds `request` `size` times over.

    Reads its JSON, JSON lines and CSV of numbers, as the converter does. Raises ValueError for everything else.
    """
    return json.dumps(_repeated(_document(request), size)).encode()


def _document(request: Request) -> dict[str, Any]:
    kind = request.content_type.partition(";")[0].strip().lower()
    text = request.body.decode()
    if kind == CSV:
        try:
            rows = [[float(cell) for cell in row] for row in csv.reader(io.StringIO(text)) if row]
        except csv.Error as error:
            raise ValueError(f"no CSV: {error}") from None
        return {"instances": [row[0] if len(row) == 1 else row for row in rows]}
    if kind not in (JSON, LINES, "application/x-ndjson"):
        raise ValueError(f"{kind} is not for the model server")
    values = [json.loads(line) for line in text.splitlines() if line.strip()] if kind != JSON else None
    if values is None:
        document = json.loads(text)
        if isinstance(document, dict) and document.keys() & {"instances", "inputs"}:
            return document
        values = document if isinstance(document, list) else [document]
    return {"instances": values}


def _repeated(document: dict[str, Any], size: int) -> dict[str, Any]:
    if "instances" in document:
        return {**document, "instances": _rows(document["instances"]) * size}
    inputs = document["inputs"]
    if isinstance(inputs, dict):
        return {**document, "inputs": {name: _rows(column) * size for name, column in inputs.items()}}
    return {**document, "inputs": _rows(inputs) * size}


def _rows(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("a tensor without a batch dimension cannot be batched")
    return value


def bodies_of_calls(requests: Sequence[Request], made: Bodies | None) -> list[tuple[Request, str]]:
    """Requests whose calls the cost curve may measure, best first, each with a remark if it is none of `requests`.

    The first of them that the model server can be sent; where it cannot and the model takes one string, the body as
    that string, as handlers send images; last what was made from the signature, since only user code knows what it
    makes of a request.
    """
    found: list[tuple[Request, str]] = []
    for request in requests[:20]:
        try:
            together(request, 2)
        except (ValueError, RecursionError):
            continue
        found.append((request, ""))
        break
    if made is not None and not found:
        if made.takes_one_string and requests:
            text = base64.b64encode(requests[0].body).decode()
            body = json.dumps({"instances": [{"b64": text}]}).encode()
            found.append(
                (Request(body), "The cost curve is of calls with the first body as the model's string.")
            )
        found.append(
            (made.requests[0], "The cost curve is of calls made from the signature, not of the requests.")
        )
    return found
