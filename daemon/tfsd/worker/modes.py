"""What a worker does with an invocation: convert it, or hand it to one of the kinds of user code.

A mode is a function from a Call to a Reply; it raises HttpError, or whatever user code raises. Another kind
of user code is another mode here and a line in `mode_of`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import bottle

from tfsd.settings import Settings
from tfsd.worker.call import Call, Mode
from tfsd.worker.context import Context
from tfsd.worker.conversion.content_encoding import Inflater
from tfsd.worker.replies import BadResult, Reply, Stream, encode, from_result
from tfsd.worker.script import Script
from tfsd.worker.turns import Turns
from tfsd.worker.upstream.connection import Answer


def mode_of(script: Script | None, settings: Settings, inflater: Inflater | None = None) -> Mode:
    """The mode for a pool's script; None means the converter. `inflater` is the worker's, if others use it too."""
    accept = settings.default_accept
    inflater = inflater or Inflater(settings.max_inflated_mb << 20)
    if script is None and settings.python_endpoint:
        script = Script("legacy", (None, None, None))
    if script is None:
        from tfsd.worker.converter import Converter  # whose readers and writers no user code needs

        return Converter(settings, inflater)
    if script.style == "handler":
        return SingleHandler(script.functions[0], accept)
    if script.style == "legacy":
        from tfsd.worker.legacy.endpoint import (
            LegacyEndpoint,  # with gRPC and numpy, which no other mode needs
        )
        from tfsd.worker.prediction_service import PredictionService

        return LegacyEndpoint(script.functions, accept, PredictionService(settings.grpc_timeout), inflater)
    input_handler, output_handler = script.functions
    return HandlerPair(input_handler, output_handler, accept)


class SingleHandler:
    """`handler(data, context)` does everything itself."""

    def __init__(self, handler: Callable[..., Any], default_accept: str) -> None:
        self._handler = handler
        self._default_accept = default_accept
        self._turns = Turns()

    def __call__(self, call: Call) -> Reply:
        context = Context.of(call, self._default_accept)
        self._turns.wait(call.since)
        result = self._handler(call.data, context)
        answered, call.answered = call.answered, None  # which a connection that is kept would keep
        return _with_status_kept(result, answered)


class HandlerPair:
    """`input_handler(data, context)` makes the model server's request, `output_handler(response, context)`
    makes the reply from its answer, whatever its status."""

    def __init__(
        self, input_handler: Callable[..., Any], output_handler: Callable[..., Any], default_accept: str
    ) -> None:
        import requests  # noqa: F401  for this mode alone; and first, since what patches it needs the next one, too

        from tfsd.worker.upstream.response import ModelServerResponse

        self._response = ModelServerResponse
        self._input_handler = input_handler
        self._output_handler = output_handler
        self._default_accept = default_accept
        self._turns = Turns()

    def __call__(self, call: Call) -> Reply:
        context = Context.of(call, self._default_accept)
        self._turns.wait(call.since)
        body = _model_server_request(self._input_handler(call.data, context))
        started = time.monotonic()
        answer = call.post(body)
        response = self._response(answer, "POST", context.rest_uri, time.monotonic() - started)
        return _with_status_kept(self._output_handler(response, context), answer)


def _with_status_kept(result: Any, answer: Answer | None) -> Reply:
    """The reply to a handler's result. An error of the model server whose content is returned as it is, and without
    a status, stays that error: else a batch job writes it into its output."""
    reply = from_result(result)
    if (
        answer is not None
        and answer.status >= 400
        and not isinstance(result, bottle.HTTPResponse)
        and reply.body == answer.body
    ):
        reply.status = answer.status
    return reply


def _model_server_request(result: Any) -> bytes:
    """The body to post for what `input_handler` returned: str, bytes, dict, list or a file."""
    if result is None:
        raise BadResult(
            "input_handler returned None; return the model server's request as str, bytes, dict, list or a "
            "file-like object."
        )
    body = encode(result)
    if isinstance(body, Stream):
        try:
            return b"".join(body)
        finally:
            body.close()
    return body
