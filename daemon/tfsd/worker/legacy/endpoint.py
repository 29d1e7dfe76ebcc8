"""The older Python endpoint: `input_fn`, `output_fn` or `transform_fn`, and gRPC to the model server.

A mode of the worker, as the handlers are. Owns the order of the steps and what is handed to the functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bottle import HTTPResponse

from tfsd.errors import UnsupportedMediaType
from tfsd.worker.call import Call
from tfsd.worker.conversion import media_type
from tfsd.worker.conversion.accept import NotAcceptable
from tfsd.worker.conversion.content_encoding import Inflater
from tfsd.worker.legacy.inputs import JSON, TEXT_TYPES, default_input_fn, to_request
from tfsd.worker.legacy.outputs import default_output_fn
from tfsd.worker.prediction_service import PredictionService, Signature
from tfsd.worker.replies import BadResult, Reply, from_result
from tfsd.worker.turns import Turns

UserFunction = Callable[..., Any] | None


class LegacyEndpoint:
    """Any of the functions may be None: then the default takes its place (`transform_fn` has none)."""

    def __init__(
        self,
        functions: tuple[UserFunction, ...],
        default_accept: str,
        service: PredictionService,
        inflater: Inflater,
    ) -> None:
        """`functions` are input_fn, output_fn and transform_fn."""
        self._input_fn, self._output_fn, self._transform_fn = functions
        self._default_accept = default_accept
        self._service = service
        self._inflater = inflater
        self._turns = Turns()

    def __call__(self, call: Call) -> Reply:
        encoding = call.environ.get("HTTP_CONTENT_ENCODING")
        with self._inflater.decoded(call.data.read(), encoding) as body:
            return self._reply(call, body)

    def _reply(self, call: Call, body: bytes) -> Reply:
        header = call.environ.get("HTTP_CONTENTTYPE") or call.environ.get("CONTENT_TYPE") or JSON
        content_type, parameters = media_type.parse(header)
        accepts = _accepts(call.environ, self._default_accept)
        data: str | bytes = body
        if content_type in TEXT_TYPES:
            data = media_type.to_utf8(body, parameters.get("charset")).decode()
        self._turns.wait(call.since)
        if self._transform_fn is not None:
            return _reply(_transformed(self._transform_fn, data, content_type, accepts), accepts)

        def signature() -> Signature:
            return self._service.signature(call.target, call.deadline)

        if self._input_fn is None:
            value = default_input_fn(data, content_type, signature())
        else:
            value = self._input_fn(data, content_type)
            if value is None:
                raise UnsupportedMediaType(f"input_fn returned nothing for content type {content_type!r}.")
        response = self._service.predict(to_request(value, signature), call.target, call.deadline)
        if self._output_fn is None:
            return from_result(default_output_fn(response, accepts))
        result = self._output_fn(response, accepts)
        if result is None:
            raise NotAcceptable(f"output_fn returned nothing for accept {accepts!r}.")
        return _reply(result, accepts)


def _accepts(environ: Mapping[str, Any], default: str) -> str:
    header: str = environ.get("HTTP_ACCEPT", "").strip()
    return default if header in ("", "*/*") else header


def _transformed(transform_fn: Callable[..., Any], data: Any, content_type: str, accepts: str) -> Any:
    result = transform_fn(data, content_type, accepts)
    if result is None:
        raise BadResult(f"transform_fn returned nothing for content type {content_type!r}; return the body.")
    return result


def _reply(result: Any, accepts: str) -> Reply:
    """The reply to what user code returned. Without a type of its own it is of the type that was asked for."""
    if isinstance(result, (tuple, HTTPResponse)):
        return from_result(result)
    return from_result((result, _first_type(accepts)))


def _first_type(accepts: str) -> str:
    """The first member of an Accept header that is a type and no range."""
    names = (member.partition(";")[0].strip() for member in accepts.split(","))
    return next((name for name in names if "/" in name and "*" not in name), JSON)
