"""TensorFlow Serving's REST API at the endpoint's port (SAGEMAKER_TFS_REST_API), which is KServe's V1 protocol too.

Owns the paths: which of them there are, for which model and method of the plan, and whether the model server or user
code answers. What reaches a model server is built from the plan, so none of its other paths can be named. Most
predictions pass this by: nginx sends them straight to the model server (conf/decision.conf).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from tfsd.attributes import METHOD, METHODS, MODEL_NAME, MODEL_VERSION
from tfsd.errors import MODEL_SERVER, NotFound
from tfsd.worker.call import Call, Found, Mode, allow
from tfsd.worker.conversion.content_encoding import Inflater
from tfsd.worker.live_targets import LiveTargets
from tfsd.worker.replies import Reply
from tfsd.worker.targets import Targets, version_number
from tfsd.worker.upstream.connection import Answer

JSON = "application/json"
_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
    rf"(?::(?P<method>{'|'.join(METHODS)})|(?P<metadata>/metadata))?"
)


class RestApi:
    """`GET /v1/models…` and `POST /v1/models/NAME…:METHOD`."""

    prefix = "/v1/models"

    def __init__(
        self, targets: Targets | LiveTargets, mode: Mode | None, inflater: Inflater, multi_model: bool
    ) -> None:
        """`mode` runs the pool's user code; None when there is none."""
        self._targets = targets
        self._mode = mode
        self._inflater = inflater
        self._multi_model = multi_model

    def find(self, environ: Mapping[str, Any]) -> Found | Reply:
        """What a request is for; the list of models is answered from the plan.

        Raises NotFound (no such path, model, version, or a label for user code), HttpError 405, Unloadable.
        """
        path, verb = environ["REQUEST_URI"].partition("?")[0], environ["REQUEST_METHOD"]
        if path == self.prefix:
            allow(verb, "GET", path)
            return Reply(200, [("Content-Type", JSON)], json.dumps({"models": self._targets.names}).encode())
        match = _PATH.fullmatch(path)
        if match is None:
            raise NotFound(
                f"There is no {path} here; GET /v1/models/NAME, or POST /v1/models/NAME:predict, each with "
                "/versions/N after the name if need be."
            )
        method = match["method"]
        allow(verb, "POST" if method else "GET", path)
        name, label = unquote(match["name"]), match["label"]
        version = version_number(match["version"])
        target = self._targets.named(name, version, label and unquote(label), method)
        if method is None:
            tail = match["metadata"] or ""
            return Found(target, lambda call: _reply(call.get(tail)))
        if label is not None and self._mode is not None:
            raise NotFound(f"Model {name!r} has code of its own and no labels; name a version, or none.")
        pairs = {MODEL_NAME: None if self._multi_model else name, MODEL_VERSION: version, METHOD: method}
        attributes = ",".join(f"{key}={value}" for key, value in pairs.items() if value is not None)
        captured = None if label is not None else attributes
        return Found(target, self._mode or self._pass_on, captured, name if self._multi_model else None)

    def _pass_on(self, call: Call) -> Reply:
        encoding = call.environ.get("HTTP_CONTENT_ENCODING")
        with self._inflater.decoded(call.data.read(), encoding) as body:
            return _reply(call.post(body))


def _reply(answer: Answer) -> Reply:
    """The model server's answer, as it is."""
    content_type = answer.header(b"content-type") or JSON
    return Reply(answer.status, [("Content-Type", content_type)], answer.body, MODEL_SERVER)
