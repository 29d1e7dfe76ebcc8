"""The routes of a multi-model endpoint: `/models` and `/models/NAME` (hosting contract, section 4).

Owns HTTP and the JSON shapes; what the calls mean is `loading`'s. Invocations never come here.
"""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable
from typing import Any

import gevent
from bottle import Bottle, HTTPResponse, request
from gevent.pywsgi import WSGIHandler

from tfsd.control.app import json_response
from tfsd.control.models.loading import Models
from tfsd.control.supervisor_client import SupervisorError
from tfsd.errors import NO_SPACE, BadRequest, HttpError
from tfsd.plan import Model

SOCKET = "tfsd.socket"  # of the client, in the WSGI environment
MODELS = "/models/"
LOOK_SECONDS = 1.0  # how often a load looks whether its client is still there

log = logging.getLogger(__name__)


class SocketHandler(WSGIHandler):
    """Gives the application the client's socket."""

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        environ[SOCKET] = self.socket
        return environ


def add_routes(app: Bottle, models: Models) -> None:
    """Add the routes to control's application."""

    @app.post("/models")
    def load() -> HTTPResponse:
        return _answer(lambda: {"success": f"Successfully loaded model {_load(models, request.environ)}."})

    @app.get("/models")
    def list_models() -> HTTPResponse:
        token = request.query.getunicode("next_page_token") or None
        return _answer(lambda: _list(models, token))

    @app.get("/models/<:path>")
    def get() -> HTTPResponse:
        return _answer(lambda: _shape(models.get(_name_in_path())))

    @app.delete("/models/<:path>")
    def unload() -> HTTPResponse:
        return _answer(
            lambda: {"success": f"Successfully unloaded model {models.unload(_name_in_path()).name}."}
        )


def _name_in_path() -> str:
    """Bottle leaves out what is not UTF-8: what remains may be another model's name."""
    sent: str = request.environ["bottle.raw_path"]
    return sent.encode("latin1").decode(errors="replace").removeprefix(MODELS)


def _answer(call: Callable[[], object]) -> HTTPResponse:
    try:
        return json_response(200, call())
    except OSError as error:
        full = error.errno in NO_SPACE
        log.error("A request about models failed: %s.", error)
        text = f"The disk of the run directory is full: {error}." if full else f"{error}."
        return json_response(507 if full else 500, {"error": text})
    except SupervisorError as error:
        log.error("A request about models failed: %s.", error)
        return json_response(500, {"error": f"{error}."})
    except HttpError as error:
        answer = json_response(error.status, {"error": error.message})
        for header, value in error.headers.items():
            answer.set_header(header, value)
        return answer


def _load(models: Models, environ: dict[str, Any]) -> str:
    """Load, unless the client goes away meanwhile: then the load is given up. Returns the model's name."""
    try:
        document = json.loads(environ["wsgi.input"].read())
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise BadRequest('The body must be JSON: {"model_name": "…", "url": "…"}.')
    name, url = document.get("model_name"), document.get("url")
    if not isinstance(name, str) or not isinstance(url, str):
        raise BadRequest("model_name and url must both be given, as strings.")
    loading = gevent.spawn(models.load, name, url)
    while not loading.ready():
        loading.join(LOOK_SECONDS)
        if not loading.ready() and _is_gone(environ.get(SOCKET)):
            loading.kill()
            raise HttpError(499, f"Model {name!r}: the client has gone; the load was given up.")
    loading.get()
    return name


def _is_gone(client: Any) -> bool:
    """Whether the client has closed its connection."""
    try:
        return client is not None and client._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _list(models: Models, token: str | None) -> dict[str, object]:
    shown, following = models.page(token)
    page: dict[str, object] = {"models": [_shape(model) for model in shown]}
    return page | {"nextPageToken": following} if following else page


def _shape(model: Model) -> dict[str, str]:
    return {"modelName": model.name, "modelUrl": model.url}
