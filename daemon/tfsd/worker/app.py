"""The Bottle application of a worker: from a WSGI request to a reply, within the time limit.

Owns the limit, the rendering of errors and the log of failures. What an invocation means is the mode's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import bottle

from tfsd.errors import CODE, MODEL_SERVER, REQUEST, TIME_LIMIT, UNAVAILABLE, HttpError, NotFound
from tfsd.incoming import BodyGone
from tfsd.logs import request_id
from tfsd.worker import replies
from tfsd.worker.call import Api, Call, Mode
from tfsd.worker.error_reports import ErrorReports
from tfsd.worker.in_flight import InFlight
from tfsd.worker.live_targets import LiveTargets, Unreached
from tfsd.worker.replies import Reply, StartResponse, Stream
from tfsd.worker.targets import Target, Targets
from tfsd.worker.upstream.current import current
from tfsd.worker.upstream.time_limits import Expired, TimeLimits

if TYPE_CHECKING:
    from tfsd.worker.capture import Capture, Sampled

INVOCATIONS = "/invocations"
MODELS, INVOKE = "/models/", "/invoke"  # around a model's name, in multi-model mode
REMEMBERED_PATHS = 512
REQUEST_ID = "HTTP_X_TFSD_REQUEST_ID"  # set by nginx
PASSED_ON = "HTTP_X_TFSD_PASSED_ON"  # Unix time, set by nginx
UNREACHED = "HTTP_X_TFSD_UNREACHED"  # set by nginx when a model's own workers were tried in vain
ATTRIBUTES = "HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES"

log = logging.getLogger(__name__)


class StreamFailed(Exception):
    """A streamed reply ended in an error, which is logged; the connection must be cut to tell the client."""


class Invocations:
    """Answers invocations with a mode."""

    def __init__(
        self,
        targets: Targets | LiveTargets,
        mode: Mode,
        limit: float,
        in_flight: InFlight | None = None,
        reports: ErrorReports | None = None,
        capture: Capture | None = None,
    ) -> None:
        """`limit` is a request's time limit in seconds (SAGEMAKER_GUNICORN_TIMEOUT_SECONDS).

        `in_flight` learns which model a request is for; whoever runs the application tells it of the end.
        `reports` learns of the errors that are answered, `capture` of the requests that nginx has sampled.
        """
        self._capture = capture
        self._reports = reports
        self._targets = targets
        self._in_flight = in_flight or InFlight()
        self._mode = mode
        self._limit = limit
        self._limits = TimeLimits()

    def reply(self, environ: dict[str, Any], model_name: str | None = None, api: Api | None = None) -> Reply:
        """Answer one request, for the model that its path names, if it does, or of another API. Raises BodyGone alone.

        For the metrics the reply's headers have the effective model, percent-encoded, in X-Tfsd-Model, the seconds
        that the request waited for this worker in X-Tfsd-Queued, and whose an error is in X-Tfsd-Cause.
        """
        since = now = time.time()
        queued: float | None = None
        try:
            since = float(environ[PASSED_ON])
            queued = now - since if since < now else 0.0
        except (KeyError, ValueError):
            pass  # nginx does not say when that was
        deadline = time.monotonic() + self._limit
        request_id.set(environ.get(REQUEST_ID, ""))
        target: Target | None = None
        sampled: Sampled | None = None
        limit = self._limits.begin(self._limit)
        try:
            reply: Reply | None = None
            mode = self._mode
            if api is None:
                attributes = environ.get(ATTRIBUTES)
                if self._capture is not None:
                    sampled = self._capture.sample(environ, model_name, attributes)
                target = self._targets.find(attributes, model_name)
            else:
                found = api.find(environ)
                if isinstance(found, Reply):
                    reply = found
                else:
                    target, mode = found.target, found.mode
                    if self._capture is not None and found.attributes is not None:
                        sampled = self._capture.sample(environ, found.target_model, found.attributes)
            if reply is None:
                assert target is not None
                if UNREACHED in environ:  # two workers of this pool itself were tried
                    raise Unreached(target.name)
                self._in_flight.enter(environ, target.name)
                call = Call(environ, target, environ["wsgi.input"], deadline, since)
                current.set(call)
                try:
                    reply = mode(call)
                except bottle.HTTPResponse as raised:  # whose body may be a generator, which may fail itself
                    reply = _failed(raised, target)
            cause = reply.cause
        except Unreached as error:
            tried = UNREACHED in environ  # else it was not loaded yet when nginx looked for its workers
            reply = replies.from_exception(
                error if tried else NotFound(f"Model {error.model} is not loaded yet.")
            )
            cause = UNAVAILABLE if tried else REQUEST
        except HttpError as error:
            reply, cause = replies.from_exception(error), _cause(error.status)
        except Expired as expired:
            ours = expired.limit is limit
            reply = self._expired(target) if ours else _failed(expired, target)
            cause = TIME_LIMIT if ours else CODE
        except BodyGone:
            raise
        except (
            BaseException
        ) as error:  # whatever user code raises is an answer, CancelledError and the like too
            reply, cause = _failed(error, target), CODE
        finally:
            self._limits.end(limit)
        if reply.status >= 400:
            reply.headers.append(("X-Tfsd-Cause", cause))
            if self._reports is not None:
                self._reports.send(request_id.get(), reply)
        if sampled is not None:
            sampled.answered(reply)
        if isinstance(reply.body, Stream):
            reply.headers.append(("X-Accel-Buffering", "no"))  # nginx passes each piece on as it comes
            reply.body = Stream(self._pieces(reply.body), reply.body.close)
        if target is not None:
            reply.headers.append(("X-Tfsd-Model", target.encoded_name))
        if queued is not None:
            reply.headers.append(("X-Tfsd-Queued", f"{queued:.3f}"))
        return reply

    def _expired(self, target: Target | None) -> Reply:
        log.error("Model %s: a request took longer than %g s.", _name(target), self._limit)
        return replies.from_error(504, self._limit_message())

    def _limit_message(self) -> str:
        return (
            f"The request took longer than {self._limit:g} s; SAGEMAKER_GUNICORN_TIMEOUT_SECONDS (or "
            "SAGEMAKER_MODEL_SERVER_TIMEOUT) sets the limit."
        )

    def _pieces(self, stream: Stream) -> Iterator[bytes]:
        """The stream's pieces, each of which must come within the limit. Raises StreamFailed."""
        pieces = iter(stream)
        while True:
            limit = self._limits.begin(self._limit)
            try:
                piece = next(pieces, None)
            except Expired as expired:
                log.error(
                    "A streamed response failed: %s",
                    self._limit_message() if expired.limit is limit else replies.text_of(expired),
                )
                raise StreamFailed from None
            except BaseException as error:
                log.exception("A streamed response failed: %s", replies.text_of(error))
                raise StreamFailed from None
            finally:
                self._limits.end(limit)
            if piece is None:
                return
            yield piece


def _cause(status: int) -> str:
    """Whose an error is that was raised with this status."""
    if status < 500:
        return REQUEST
    return {503: UNAVAILABLE, 504: TIME_LIMIT}.get(status, MODEL_SERVER)


def _name(target: Target | None) -> str:
    return "?" if target is None else target.name


def _failed(error: BaseException, target: Target | None) -> Reply:
    reply = replies.from_exception(error)
    if reply.status >= 500:
        log.error(
            "Model %s: user code failed: %s: %s",
            _name(target),
            type(error).__name__,
            replies.text_of(error),
            exc_info=error,
        )
    return reply


class Application:
    """`POST /invocations`, or `POST /models/NAME/invoke`, and the paths of `apis`; everything else is a JSON error.

    The one request that matters passes Bottle by: Bottle's request and response objects, which it has no use
    for, would take a tenth of a small request's CPU time.
    """

    def __init__(self, invocations: Invocations, multi_model: bool = False, apis: Sequence[Api] = ()) -> None:
        self._invocations = invocations
        self._multi_model = multi_model
        self._apis = apis
        self._others = bottle.Bottle()
        self._others.default_error_handler = _error_page

        @self._others.post(MODELS + "<_:path>" + INVOKE if multi_model else INVOCATIONS)
        def invoke(**_name: str) -> bottle.HTTPResponse:
            reply = invocations.reply(bottle.request.environ)
            return bottle.HTTPResponse(reply.body, reply.status, reply.headers)

    def reply(self, environ: dict[str, Any]) -> Reply | None:
        """The reply to an invocation, or of one of the APIs; None for what is for Bottle to answer."""
        path, api = environ["PATH_INFO"], None
        name = _invoked_model(path) if self._multi_model else None
        if name is None and (self._multi_model or path != INVOCATIONS):
            api = next((api for api in self._apis if f"{path}/".startswith(f"{api.prefix}/")), None)
            if api is None:
                return None
        if api is None and environ["REQUEST_METHOD"] != "POST":
            return None
        return self._invocations.reply(environ, name, api)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """WSGI (PEP 3333)."""
        reply = self.reply(environ)
        if reply is not None:
            return reply.as_application(environ, start_response)
        answer: Iterable[bytes] = self._others(environ, start_response)
        return answer


@lru_cache(REMEMBERED_PATHS)
def _invoked_model(path: str) -> str | None:
    """The model whose path it is in multi-model mode, None for any other path."""
    if not (path.startswith(MODELS) and path.endswith(INVOKE)):
        return None
    return path[len(MODELS) : -len(INVOKE)].encode("latin-1").decode("utf-8", "replace")


def _error_page(error: bottle.HTTPError) -> bytes:
    """Bottle's own errors: no such path, wrong method."""
    bottle.response.content_type = "application/json"
    request = bottle.request
    what = {
        404: f"There is no {request.path} here; invocations are posted to /invocations.",
        405: f"{request.method} is not allowed for {request.path}; use POST.",
    }.get(error.status_code, str(error.body))
    body = replies.from_error(error.status_code, what).body
    assert isinstance(body, bytes)
    return body
