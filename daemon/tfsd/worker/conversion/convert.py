"""Conversion of requests and responses where no user code does it (hosting contract, section 9).

Owns the two tables: which content types are read and which are produced. What each of them means is in the
modules beside this one. Never talks to a model server, and never looks at a response's status: an error's
body is not for conversion.
"""

from collections.abc import Callable, Mapping

from tfsd.errors import BadRequest, UnsupportedMediaType
from tfsd.worker.conversion import csv_instances, json_documents, limits, media_type, predictions
from tfsd.worker.conversion.accept import NotAcceptable, acceptable, choose

JSON = "application/json"
CSV = "text/csv"
CSV_WITH_HEADER = "text/csv; header=present"
LINES = (CSV, CSV_WITH_HEADER, "application/x-ndjson")  # types with a line for each prediction
SEVERAL_INPUTS = "multiple input tensors required"  # of TensorFlow Serving's message
NPY, NPZ = "application/x-npy", "application/x-npz"
TFEXAMPLE = "application/x-tfexample"
ARRAYS = (NPY, NPZ)  # read and produced by `tfsd.worker.binary`, as Examples are read
BINARY = (*ARRAYS, TFEXAMPLE)

_Reader = Callable[[bytes, Mapping[str, str]], bytes]
_Writer = Callable[[bytes], bytes | None]


def convert_request(body: bytes, content_type: str | None) -> bytes:
    """Turn a request's body, without its Content-Encoding, into the model server's REST body, UTF-8 JSON.

    Args:
        content_type: absent or empty means application/json.

    Raises:
        BadRequest: the body is not what its headers say; the message names the line.
        UnsupportedMediaType: a content type or charset that is not read here.
    """
    parameters = media_type.parse(content_type or JSON).parameters
    reader = reader_of(content_type)
    converted = reader(media_type.to_utf8(body, parameters.get("charset")), parameters)
    limits.check(converted)
    return converted


def is_binary(content_type: str | None) -> bool:
    """Whether that is a content type that `tfsd.worker.binary` reads."""
    return content_type is not None and media_type.parse(content_type).name in BINARY


def reader_of(content_type: str | None) -> _Reader:
    """What reads that content type. Raises UnsupportedMediaType, before anybody inflates a body for nothing."""
    name = media_type.parse(content_type or JSON).name
    reader = _READERS.get(name)
    if reader is None:
        raise UnsupportedMediaType(
            f"Content-Type {name[:100]!r} is not supported without an inference.py that defines handler or"
            f" input_handler; send one of {', '.join((*_READERS, *BINARY))}"
        )
    return reader


def convert_response(
    body: bytes, accept: str | None, default_accept: str, strict: bool = False
) -> tuple[bytes, str]:
    """Turn the body of a model server's 200 into what the client prefers; returns it and its content type.

    An answer that has no form in that type (outputs without a common first dimension, as lines) stays JSON.

    Args:
        accept: the request's Accept header.
        default_accept: what an absent Accept or `*/*` means (SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT).
        strict: whether NotAcceptable is raised where JSON would take the place of what was asked for.
    """
    content_type = response_type(accept, default_accept, strict)
    converted = _WRITERS[content_type](body)
    if converted is None:
        if strict:
            raise NotAcceptable(
                f"The model's response cannot be converted to {content_type}; ask for {JSON}."
            )
        return body, JSON
    if content_type == CSV and _wants_header(accept, default_accept):
        header = predictions.csv_header(body)
        if header is not None:
            return header + converted, CSV_WITH_HEADER
    return converted, content_type


def response_type(accept: str | None, default_accept: str, strict: bool = False) -> str:
    """Return the content type that `accept` asks for, out of those that are produced here.

    JSON takes the place of what is not; but raises NotAcceptable if `strict`.
    """
    offered = (*_WRITERS, *ARRAYS)
    found = acceptable(accept, offered, choose(default_accept, offered, JSON))
    if found is None:
        asked = accept or default_accept
        if strict:
            raise NotAcceptable(
                f"Accept {asked[:100]!r} is not supported; ask for one of {', '.join(offered)}."
            )
        return JSON
    return found


def error_text(body: bytes, content_type: str | None) -> str:
    """What the client is told of a model server's error. A CSV without names, for a model that needs them, gets to
    know how to send them: the model server speaks of JSON."""
    text = body.decode("utf-8", "replace")
    if SEVERAL_INPUTS not in text or media_type.parse(content_type or JSON).name != CSV:
        return text
    return (
        "The model has several inputs, and the CSV does not name its columns: send Content-Type: text/csv; "
        "header=present and the inputs' names in the first row."
    )


def _wants_header(accept: str | None, default_accept: str) -> bool:
    asked = default_accept if not accept or accept == "*/*" else accept
    if ";" not in asked:
        return False
    members = [media_type.parse(member) for member in asked.split(",")]
    return any(
        member.name == CSV and member.parameters.get("header", "").lower() == "present" for member in members
    )


def _read_json(text: bytes, _: Mapping[str, str]) -> bytes:
    return json_documents.to_instances(text, spread=True)


def _read_json_lines(text: bytes, _: Mapping[str, str]) -> bytes:
    return json_documents.to_instances(text, spread=False)


def _read_csv(text: bytes, parameters: Mapping[str, str]) -> bytes:
    header = parameters.get("header", "absent").lower()
    if header not in ("present", "absent"):
        raise BadRequest(
            f"Content-Type parameter header={header[:40]!r} is unknown; use present or absent (RFC 4180)."
        )
    return csv_instances.to_instances(text, header == "present")


_READERS: Mapping[str, _Reader] = {
    JSON: _read_json,
    "application/jsonlines": _read_json_lines,
    "application/jsons": _read_json_lines,
    "application/x-ndjson": _read_json_lines,
    "application/jsonl": _read_json_lines,
    CSV: _read_csv,
}
_WRITERS: Mapping[str, _Writer] = {
    JSON: lambda body: body,
    "application/jsonlines": predictions.to_one_line,
    "application/jsons": predictions.to_one_line,
    "application/x-ndjson": predictions.to_json_lines,
    CSV: predictions.to_csv,
}
