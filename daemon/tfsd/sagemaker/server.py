"""The HTTP server: one port for SageMaker's control plane and runtime, which are ours, and all else, which is moto's.

A WSGI application on gevent's pywsgi: an endpoint's stream is sent on piece by piece, each as a chunk, and thousands of
held requests cost a greenlet each.
"""

from __future__ import annotations

import functools
import logging
import socket
import uuid
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from botocore.loaders import Loader

from tfsd import wsgi
from tfsd.sagemaker import actions
from tfsd.sagemaker.call import Call
from tfsd.sagemaker.emulator import Emulator
from tfsd.sagemaker.errors import AwsError, InternalFailure
from tfsd.sagemaker.other_services import signed_for
from tfsd.sagemaker.service import HttpRequest, HttpResponse, RestService, Service

DEFAULT_REGION = "us-east-1"
PHRASES = {status.value: status.phrase for status in HTTPStatus}

log = logging.getLogger(__name__)


class Handler(wsgi.Handler):
    """A connection, whose answers leave at once: the head waits for an acknowledgement otherwise, 40 ms."""

    def handle(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().handle()

    def log_request(self) -> None:
        """Containers have their access logs."""


@functools.cache
def _services() -> tuple[Service, RestService]:
    """SageMaker's and its runtime's. botocore's models of them are read once in a process: that takes long."""
    loader = Loader()
    return Service("sagemaker", loader), RestService("sagemaker-runtime", loader)


class Application:
    """Which service a request is for, and its answer."""

    def __init__(self, emulator: Emulator, default_region: str = DEFAULT_REGION) -> None:
        self._emulator = emulator
        self._default_region = default_region
        self._control, self._runtime = _services()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        region, signed_service = signed_for(environ)
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if target.startswith("SageMaker."):
            service = self._control
        elif signed_service == "sagemaker" and environ["PATH_INFO"].startswith("/endpoints/"):
            service = self._runtime
        else:
            answer: Iterable[bytes] = self._emulator.other_services(environ, start_response)
            return answer
        call = Call(self._emulator, region or self._default_region, str(uuid.uuid4()))
        response = self._answer(service, call, _http_request(environ))
        headers = [*response.headers.items(), ("x-amzn-RequestId", call.request_id)]
        if isinstance(response.body, bytes):
            headers.append(("Content-Length", str(len(response.body))))
        start_response(f"{response.status} {PHRASES.get(response.status, 'Error')}", headers)
        return [response.body] if isinstance(response.body, bytes) else response.body

    def _answer(self, service: Service, call: Call, request: HttpRequest) -> HttpResponse:
        try:
            operation, parameters = service.parse(request)
            result = actions.find(operation.name)(call, parameters)
            return service.respond(operation, result)
        except AwsError as error:
            return service.respond_error(error)
        except Exception as error:
            log.exception(
                "%s %s failed: a defect of local SageMaker.",
                request.method,
                request.headers.get("x-amz-target", request.path),
            )
            return service.respond_error(InternalFailure(f"{type(error).__name__}: {error}"))


def _http_request(environ: dict[str, Any]) -> HttpRequest:
    headers = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    if environ.get("CONTENT_TYPE"):
        headers["content-type"] = environ["CONTENT_TYPE"]
    return HttpRequest(environ["REQUEST_METHOD"], environ["PATH_INFO"], headers, environ["wsgi.input"].read())
