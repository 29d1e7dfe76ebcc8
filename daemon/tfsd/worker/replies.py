"""From what user code returns or raises to an HTTP reply.

Owns the rules of results: body, `(body, content_type)`, `(body, content_type, headers)`, generators, Bottle's
responses, exceptions with a status. Never writes to a connection.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import bottle

from tfsd import wsgi
from tfsd.errors import CODE, HttpError
from tfsd.worker.upstream.grpc_errors import as_http_error

DEFAULT_CONTENT_TYPE = "application/json"  # of a result that names none, as in the AWS containers
PIECE_BYTES = 64 * 1024  # of a file-like result
BODILESS = (204, 304)  # RFC 9110, section 6.4.1
FRAMING = {"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

OUT_OF_MEMORY = "There is not enough memory for this request just now; try again, or send less at a time."

Headers = list[tuple[str, str]]
StartResponse = Callable[[str, Headers], Any]


class BadResult(Exception):
    """User code returned what cannot be sent; the text says what it was and what may be returned."""


@dataclasses.dataclass(slots=True)
class Reply:
    """An HTTP reply; `body` is bytes, or a Stream that is sent in pieces; `cause` says whose an error is."""

    status: int
    headers: Headers
    body: bytes | Stream = b""
    cause: str = CODE

    def as_application(self, _environ: Mapping[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """A WSGI application (PEP 3333) that gives this reply to any request."""
        start_response(wsgi.status_line(self.status), self.headers)
        return self.body if isinstance(self.body, Stream) else [self.body]


class Stream:
    """The pieces of a streamed body, none of them empty. `close()` closes the source, as WSGI asks for."""

    def __init__(self, pieces: Iterator[bytes], close: Callable[[], object] | None) -> None:
        self._pieces = pieces
        self._close = close

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        if self._close is not None:
            self._close()


def from_result(result: Any) -> Reply:
    """The reply to what `handler` or `output_handler` returned.

    Args:
        result: a body, `(body, content_type)`, `(body, content_type, headers)` or a Bottle HTTPResponse. A
            body is str, bytes, None (empty), a file, an iterator of str or bytes (streamed in chunks), or
            anything that JSON can say. The headers are a mapping or a list of pairs; those that frame the
            message (Content-Length, Connection, …) are left out.
    Raises BadResult.
    """
    body, content_type, headers = result, None, ()
    if isinstance(result, bottle.HTTPResponse):
        return _from_bottle(result)
    if isinstance(result, tuple):
        if not 1 <= len(result) <= 3:
            raise BadResult(
                f"The handler returned a tuple of {len(result)} items; return a body, "
                "(body, content_type) or (body, content_type, headers)."
            )
        if len(result) == 2:
            body, content_type = result
        else:
            body, content_type, headers = result if len(result) == 3 else (result[0], None, ())
    checked: Headers = checked_headers(headers) if headers else []
    if content_type is None and any(name.lower() == "content-type" for name, _ in checked):
        return Reply(200, checked, encode(body))
    content_type = DEFAULT_CONTENT_TYPE if content_type is None else content_type
    if not isinstance(content_type, str):
        raise BadResult(
            f"The handler returned {content_type!r} as the content type; that is a str. For a status return "
            "bottle.HTTPResponse(body, status, headers)."
        )
    return Reply(200, [_checked_content_type(content_type), *checked], encode(body))


def from_exception(error: BaseException) -> Reply:
    """The reply to an exception: its own status if it carries one (a Bottle HTTPError or HTTPResponse, an
    HttpError, a gRPC call's failure, an attribute `status_code` from 400 to 599), else 500; its text as `{"error": …}`.

    Raises what the body of a HTTPResponse raises, of which the first piece is fetched.
    """
    if isinstance(error, bottle.HTTPResponse):
        try:
            return _from_bottle(error)
        except BadResult as bad:
            return from_error(500, str(bad))
    known = error if isinstance(error, HttpError) else as_http_error(error)
    if known is not None:
        return from_error(known.status, known.message, known.headers)
    if isinstance(error, MemoryError):
        return from_error(503, OUT_OF_MEMORY, {"Retry-After": "1"})
    try:
        status = getattr(error, "status_code", None)
    except Exception:  # a property of user code's
        status = None
    if not isinstance(status, int) or not 400 <= status <= 599:
        status = 500
    text = text_of(error)
    return from_error(status, f"KeyError: {text}" if isinstance(error, KeyError) else text)


def text_of(error: BaseException) -> str:
    """What an exception says, or its name where it says nothing or fails to."""
    try:
        return str(error) or repr(error)
    except Exception:
        return f"{type(error).__name__}, whose text cannot be had"


def from_error(status: int, text: str, headers: Mapping[str, str] | None = None) -> Reply:
    """An error reply. A text that is itself a JSON object with a key `error` is sent as it is."""
    more = list((headers or {}).items())
    body = text if _is_error_document(text) else json.dumps({"error": text})
    return Reply(status, [("Content-Type", "application/json"), *more], body.encode())


def encode(body: Any) -> bytes | Stream:
    """A result's body as bytes, or as a Stream for an iterator or a file. Raises BadResult."""
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    if body is None:
        return b""
    if isinstance(body, (bytearray, memoryview)):
        return bytes(body)
    if hasattr(body, "read"):
        return _stream(_read(body), getattr(body, "close", None))
    if isinstance(body, Iterator):
        return _stream(body, getattr(body, "close", None))
    return to_json(body)


def to_json(value: Any) -> bytes:
    """`value` as JSON; numpy's arrays and numbers become lists and numbers, NaN stays NaN (the model server
    reads and writes it). Raises BadResult."""
    try:
        return json.dumps(value, default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadResult(f"A result of type {type(value).__name__} is not JSON: {error}") from None


def checked_headers(headers: Any) -> Headers:
    """Response headers as pairs of str, without those that frame the message. Raises BadResult: not a mapping
    or a list of pairs, a name or a value that HTTP does not allow (a line end above all)."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    checked: Headers = []
    try:
        for name, value in pairs:
            text = value if isinstance(value, str) else str(value)
            if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(text):
                raise BadResult(f"The response header {name!r}: {text!r} is not allowed in HTTP.")
            if name.lower() not in FRAMING:
                checked.append((name, text))
    except (TypeError, ValueError):
        raise BadResult("Response headers must be a dict or a list of (name, value) pairs.") from None
    return checked


@lru_cache(256)
def _checked_content_type(value: str) -> tuple[str, str]:
    return checked_headers((("Content-Type", value),))[0]


def _from_bottle(response: bottle.HTTPResponse) -> Reply:
    headers = checked_headers(response.headerlist)
    if "Content-Type" not in response.headers:  # Bottle's default is text/html
        headers = [(name, value) for name, value in headers if name.lower() != "content-type"]
        headers.append(("Content-Type", DEFAULT_CONTENT_TYPE))
    if isinstance(response, bottle.HTTPError) and response.status_code not in BODILESS:
        reply = from_error(response.status_code, str(response.body))
        reply.headers += [(name, value) for name, value in headers if name.lower() != "content-type"]
        return reply
    body = encode(response.body)
    if response.status_code < 200 or (response.status_code in BODILESS and body):
        raise BadResult(
            f"The handler returned a response of status {response.status_code} "
            + ("with a body, which that status has not." if body else "that is no final response.")
        )
    return Reply(response.status_code, headers, body)


def _stream(source: Iterable[Any], close: Callable[[], object] | None) -> bytes | Stream:
    """Fetch the first piece, so that an error before it is still answered with a status."""
    pieces = _pieces(source)
    first = next(pieces, None)
    if first is None:
        if close is not None:
            close()
        return b""
    return Stream(_chain(first, pieces), close)


def _read(file: Any) -> Iterator[Any]:
    while piece := file.read(PIECE_BYTES):
        yield piece


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _pieces(source: Iterable[Any]) -> Iterator[bytes]:
    for piece in source:
        if isinstance(piece, str):
            piece = piece.encode()
        elif not isinstance(piece, (bytes, bytearray, memoryview)):
            raise BadResult(f"A streamed result yielded {type(piece).__name__}; yield bytes or str.")
        if piece:
            yield bytes(piece)


def _plain(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode()
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


def _is_error_document(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        document = json.loads(text)
    except ValueError:
        return False
    return isinstance(document, dict) and "error" in document
