"""`Context`: what a handler is told about its request. The fields and their order are user interface."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from tfsd.worker.call import Call


class _Fields(NamedTuple):
    model_name: str
    model_version: str
    method: str
    rest_uri: str
    grpc_uri: str
    custom_attributes: str
    request_content_type: str
    accept_header: str
    content_length: int


class Context(_Fields):
    """A named tuple of nine fields, all of them always filled in, and properties that are no fields.

    Fields:
        model_name: the model that is asked for, or the default one.
        model_version: the version that is asked for, or the latest one, for example '5'.
        method: 'predict', 'classify' or 'regress'.
        rest_uri: where to post to, 'http://localhost:8501/v1/models/half_plus_three:predict'. It names a
            version only if the request did, so that a newer version is used as soon as it is there.
        grpc_uri: the model server's gRPC port, for example '9000'.
        custom_attributes: the X-Amzn-SageMaker-Custom-Attributes header, '' if there is none.
        request_content_type: the Content-Type header, 'application/json' if there is none.
        accept_header: the Accept header; SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT if it is absent or '*/*'.
        content_length: bytes of the body, 0 if the request does not say.
    """

    _call: Call

    @property
    def grpc_port(self) -> str:
        """The same as `grpc_uri`, which never was a URI."""
        return self.grpc_uri

    @property
    def channel(self) -> Any:
        """The grpc.Channel to the model's servers, one for each worker and model. It is made when it is first
        asked for; it outlives restarts of the model server, which calls wait for, and must not be closed."""
        return self._call.target.group.channel

    def channel_to(self, model_name: str) -> Any:
        """The same for another model of this endpoint. Raises LookupError when there is none of that name."""
        return self._call.target.group.other(model_name).channel

    @property
    def timeout(self) -> float:
        """Seconds that are left of the request's time limit; never negative."""
        return max(0.0, self._call.deadline - time.monotonic())

    @property
    def request_id(self) -> str:
        """The request's id: X-Amzn-SageMaker-Inference-Id if the client gave one, else nginx's; '' without nginx.

        It is in every log line about the request, and in the response's header X-Request-Id.
        """
        return str(self._call.environ.get("HTTP_X_TFSD_REQUEST_ID", ""))

    @property
    def traceparent(self) -> str:
        """The header of that name (W3C Trace Context), to be passed on in requests of your own; '' without one."""
        return str(self._call.environ.get("HTTP_TRACEPARENT", ""))

    def _replace(self, **fields: Any) -> Context:
        """A copy with other values in some fields; it is of the same request."""
        copy: Context = super()._replace(**fields)
        copy._call = self._call
        return copy

    __replace__ = _replace  # copy.replace(), from Python 3.13 on

    @classmethod
    def of(cls, call: Call, default_accept: str) -> Context:
        """What a handler is told about this call."""
        environ, target = call.environ, call.target
        accept = environ.get("HTTP_ACCEPT")
        context: Context = tuple.__new__(  # in a third of the time that calling the class takes
            cls,
            (
                target.name,
                target.version,
                target.method,
                target.rest_uri,
                target.grpc_port,
                environ.get("HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES", ""),
                environ.get("CONTENT_TYPE") or "application/json",
                default_accept if not accept or accept == "*/*" else accept,
                int(environ.get("CONTENT_LENGTH") or 0),
            ),
        )
        context._call = call
        return context
