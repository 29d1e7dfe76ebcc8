"""Conversion of requests and responses where no user code does it (hosting contract, section 9).

Owns the two tables: which content types are read and which are produced. What each of them means is in the
modules beside this one. Never talks to a model server, and never looks at a response's status: an error's
body is not for conversion.
"""

from collections.abc import Callable, Mapping

from tfsd.errors import BadRequest, UnsupportedMediaType
from tfsd.worker.conversion import csv_instances, json_documents, limits, media_type, predictions
from tfsd.worker.conversion.accept import choose

JSON = "application/json"

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


def reader_of(content_type: str | None) -> _Reader:
    """What reads that content type. Raises UnsupportedMediaType, before anybody inflates a body for nothing."""
    name = media_type.parse(content_type or JSON).name
    reader = _READERS.get(name)
    if reader is None:
        raise UnsupportedMediaType(
            f"Content-Type {name[:100]!r} is not supported without an inference.py that defines handler or"
            f" input_handler; send one of {', '.join(_READERS)}"
        )
    return reader


def convert_response(body: bytes, accept: str | None, default_accept: str) -> tuple[bytes, str]:
    """Turn the body of a model server's 200 into what the client prefers; returns it and its content type.

    An answer that has no form in that type (outputs without a common first dimension, as lines) stays JSON.

    Args:
        accept: the request's Accept header.
        default_accept: what an absent Accept or `*/*` means (SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT).
    """
    content_type = response_type(accept, default_accept)
    converted = _WRITERS[content_type](body)
    return (body, JSON) if converted is None else (converted, content_type)


def response_type(accept: str | None, default_accept: str) -> str:
    """Return the content type that `accept` asks for, out of those that are produced here."""
    return choose(accept, tuple(_WRITERS), choose(default_accept, tuple(_WRITERS), JSON))


def _read_json(text: bytes, _: Mapping[str, str]) -> bytes:
    return json_documents.to_instances(text, spread=True)


def _read_json_lines(text: bytes, _: Mapping[str, str]) -> bytes:
    return json_documents.to_instances(text, spread=False)


def _read_csv(text: bytes, parameters: Mapping[str, str]) -> bytes:
    header = parameters.get("header", "absent").lower()
    if header not in ("present", "absent"):
        raise BadRequest(
            f"Content-Type parameter header={header[:40]!r} is unknown; it is present or absent (RFC 4180)"
        )
    return csv_instances.to_instances(text, header == "present")


_READERS: Mapping[str, _Reader] = {
    JSON: _read_json,
    "application/jsonlines": _read_json_lines,
    "application/jsons": _read_json_lines,
    "application/x-ndjson": _read_json_lines,
    "application/jsonl": _read_json_lines,
    "text/csv": _read_csv,
}
_WRITERS: Mapping[str, _Writer] = {
    JSON: lambda body: body,
    "application/jsonlines": predictions.to_one_line,
    "application/jsons": predictions.to_one_line,
    "application/x-ndjson": predictions.to_json_lines,
    "text/csv": predictions.to_csv,
}
