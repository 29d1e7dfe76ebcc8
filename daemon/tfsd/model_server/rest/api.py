"""The REST API of the model server: which path and method does what, and how its outcome is answered.

Owns routing and the rendering of errors (tensorflow_model_server 2.20). Never reads JSON (`verbs`) or
sockets (`http_server`).
"""

from __future__ import annotations

import logging
import re
import time
import zlib
from collections.abc import Callable
from urllib.parse import unquote

from tfsd.model_server.codec.codec import error_body
from tfsd.model_server.core import ServerCore
from tfsd.model_server.errors import Code, ServingError, invalid
from tfsd.model_server.metrics import Metrics
from tfsd.model_server.rest.http_message import Request, Response, html_error
from tfsd.model_server.rest.http_server import HttpServer
from tfsd.model_server.rest.remembered import remembered
from tfsd.model_server.rest.verbs import RestVerbs
from tfsd.model_server.spec import ModelSpec

log = logging.getLogger(__name__)

_API = re.compile(r"/v1/.*", re.IGNORECASE)
_INFERENCE = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/([0-9]+)|/labels/([^/:]+))?:(classify|regress|predict)", re.IGNORECASE
)
_STATUS = re.compile(
    r"/v1/models(?:/([^/:]+))?(?:/versions/([0-9]+)|/labels/([^/:]+))?(?:/(metadata))?", re.IGNORECASE
)
_JSON = "application/json"
_TEXT = "text/plain"
#: libevent's default type, which the real server sends where it sets none.
_DEFAULT_TYPE = "text/html; charset=ISO-8859-1"
_CORS_HEADERS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)
_MAX_VERSION = 2**63 - 1
_DIGITS = 20  # of a number that is larger
#: What a gzip body may inflate to, in bytes, as in the real server.
MAX_INFLATED = 100 * 2**20
_NO_MEMORY = (
    "There is not enough memory for this request now. Send it again later, or fewer instances at once."
)
_GZIP_WINDOW = 31  # zlib: 15 bits, and a gzip header is expected


class _VersionOverflow(Exception):
    """A version number in the path that no version can have."""


class RestApi:
    """Answers HTTP requests (see `RestServer` for the arguments)."""

    def __init__(
        self,
        core: ServerCore,
        timeout_ms: int,
        cors: bool,
        prometheus_path: str | None,
        metrics: Metrics,
    ) -> None:
        self._verbs = RestVerbs(core, timeout_ms)
        self._headers = _CORS_HEADERS if cors else ()
        self._prometheus_path = prometheus_path
        self._metrics = metrics
        self._inference = {
            "predict": self._verbs.predict,
            "classify": self._verbs.classify,
            "regress": self._verbs.regress,
        }

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        if self._prometheus_path is not None and request.path == self._prometheus_path:
            return self._prometheus(request)
        if _API.fullmatch(request.uri) is None:
            return html_error(404)
        if request.method == "OPTIONS":
            status = 200 if request.headers.get("origin", "").startswith("http") else 400
            return Response(status, _DEFAULT_TYPE, headers=self._headers)
        try:
            return Response(200, _JSON, self._answer(request), self._headers)
        except _VersionOverflow:
            return Response(400, _JSON, headers=self._headers)
        except ServingError as error:
            return Response(error.code.http_status, _JSON, error_body(error.message), self._headers)
        except Exception as error:
            log.exception("%s %s failed: a defect of this server.", request.method, request.uri)
            return Response(500, _JSON, error_body(f"{type(error).__name__}: {error}"), self._headers)

    def _prometheus(self, request: Request) -> Response:
        path = self._prometheus_path
        if request.uri != path:
            text = f"Unexpected path: {request.uri}. Should be {path}"
            return Response(400, _TEXT, text.encode())
        return Response(200, _TEXT, self._metrics.render().encode("utf-8", "replace"))

    def _answer(self, request: Request) -> bytes:
        if request.method == "POST" and (asked := _asked(request.uri)):
            if asked[0] in self._inference:  # the pattern takes `:PREDICT` too, the verb does not
                return self._infer(*asked, request)
        elif request.method == "GET" and (match := _STATUS.fullmatch(request.uri)):
            spec = _spec(match)
            if not spec.name:
                raise invalid("Missing model name in request.")
            # `/METADATA` matches and is answered with the status
            verb = self._verbs.metadata if match[4] == "metadata" else self._verbs.status
            return self._counted(spec, lambda: verb(spec))
        raise invalid(f"Malformed request: {request.method} {request.uri}")

    def _counted(self, spec: ModelSpec, answer: Callable[[], bytes]) -> bytes:
        """Count a request that asks for no inference: the real server counts those of its REST API too."""
        code = Code.INTERNAL
        try:
            body = answer()
            code = Code.OK
            return body
        except ServingError as error:
            code = error.code
            raise
        finally:
            self._metrics.request_count.add((spec.name, code.name))

    def _infer(self, verb: str, spec: ModelSpec, request: Request) -> bytes:
        started = time.perf_counter()
        code = Code.INTERNAL
        try:
            answer = self._inference[verb](spec, _inflated(request))
            code = Code.OK
            return answer
        except ServingError as error:
            code = error.code
            raise
        except MemoryError:
            code = Code.UNAVAILABLE
            log.warning(
                "Not enough memory for a request of %d bytes to model %s", len(request.body), spec.name
            )
            raise ServingError(code, _NO_MEMORY) from None
        finally:
            self._metrics.record(spec.name, verb, "REST", code, time.perf_counter() - started)


@remembered
def _asked(uri: str) -> tuple[str, ModelSpec] | None:
    """The verb that a path asks for, and of which model; None for a path of no inference. Raises _VersionOverflow."""
    match = _INFERENCE.fullmatch(uri)
    return (match[4], _spec(match)) if match else None


def _spec(match: re.Match[str]) -> ModelSpec:
    """What a path names; names are percent-decoded only now, so that one may have a slash or a colon."""
    version = int(match[2].lstrip("0")[:_DIGITS] or "0") if match[2] else None
    if version is not None and version > _MAX_VERSION:
        raise _VersionOverflow
    label = unquote(match[3], errors="surrogateescape") if match[3] else None
    return ModelSpec(unquote(match[1] or "", errors="surrogateescape"), version, label)


def _inflated(request: Request) -> bytes | bytearray:
    """The body, inflated if it says gzip; empty if it is not exactly one whole gzip member."""
    if "gzip" not in request.headers.get("content-encoding", "") or not request.body:
        return request.body
    inflater = zlib.decompressobj(_GZIP_WINDOW)
    try:
        body = inflater.decompress(request.body, MAX_INFLATED)
    except zlib.error:
        return b""
    return body if inflater.eof and not inflater.unused_data else b""


class RestServer:
    """The REST API on a port.

    Args:
        host: the address to listen on (--host).
        port: TCP port (--rest_api_port); 0 for a free one, see `port` after `start`.
        num_threads: requests that are served at once (--rest_api_num_threads).
        timeout_ms: the time that a model may take (--rest_api_timeout_in_ms).
        cors: send CORS headers (--rest_api_enable_cors_support).
        prometheus_path: where the metrics are, None for nowhere (--monitoring_config_file).
        metrics: counts the requests, and is what that path shows.
    """

    def __init__(
        self,
        core: ServerCore,
        *,
        host: str,
        port: int,
        num_threads: int,
        timeout_ms: int,
        cors: bool,
        prometheus_path: str | None,
        metrics: Metrics,
    ) -> None:
        self._host = host
        self.port = port
        self._num_threads = num_threads
        self._api = RestApi(core, timeout_ms, cors, prometheus_path, metrics)
        self._server: HttpServer | None = None

    def start(self) -> None:
        """Open the port. Raises OSError: it is taken."""
        self._server = HttpServer(self._api.handle, self._host, self.port, self._num_threads)
        self.port = self._server.port
        self._server.start()

    def stop(self, grace_seconds: float) -> None:
        """Refuse new connections and give the requests in flight so long to finish."""
        if self._server is not None:
            self._server.stop(grace_seconds)
