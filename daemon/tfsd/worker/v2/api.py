"""The paths of the Open Inference Protocol (SAGEMAKER_TFS_V2_API): which there are, and for which planned model.

Liveness and readiness of the whole endpoint, `/v2/health/…`, are control's. Whoever does not ask for this API does not
import this room, with gRPC and numpy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

from tfsd import __version__
from tfsd.errors import NotFound
from tfsd.worker.call import Found, allow
from tfsd.worker.conversion.content_encoding import Inflater
from tfsd.worker.live_targets import LiveTargets
from tfsd.worker.prediction_service import SERVING_DEFAULT, PredictionService
from tfsd.worker.replies import Reply
from tfsd.worker.targets import Targets, version_number
from tfsd.worker.v2.inference import Inference

EXTENSIONS = ["binary_tensor_data"]
_PATH = re.compile(r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[0-9]+))?(?P<way>/ready|/infer)?")


class V2Api:
    """`GET /v2`, `GET /v2/models/NAME…` and `POST /v2/models/NAME…/infer`."""

    prefix = "/v2"

    def __init__(self, targets: Targets | LiveTargets, inflater: Inflater, limit: float) -> None:
        """`limit` is a request's time limit in seconds."""
        self._targets = targets
        self._inference = Inference(PredictionService(limit), inflater)

    def find(self, environ: Mapping[str, Any]) -> Found | Reply:
        """What a request is for. Raises NotFound (no such path, model or version), HttpError 405, Unloadable."""
        path, _, query = environ["REQUEST_URI"].partition("?")
        match = _PATH.fullmatch(path)
        if match is None and path != self.prefix:
            raise NotFound(
                f"There is no {path} here; GET /v2, GET /v2/models/NAME, or POST /v2/models/NAME/infer, the latter "
                "with /versions/N after the name if need be."
            )
        infers = match is not None and match["way"] == "/infer"
        allow(environ["REQUEST_METHOD"], "POST" if infers else "GET", path)
        if match is None:
            server = {"name": "tfsd", "version": __version__, "extensions": EXTENSIONS}
            return Reply(200, [("Content-Type", "application/json")], json.dumps(server).encode())
        name, version = unquote(match["name"]), version_number(match["version"])
        target = self._targets.named(name, version, None, "predict" if infers else None)
        if infers:
            return Found(target, self._inference.infer)
        if match["way"]:
            return Found(target, self._inference.ready)
        signature = parse_qs(query).get("signature_name", [SERVING_DEFAULT])[0]
        versions = [str(version)] if version is not None else [str(known) for known in target.versions]
        return Found(target, lambda call: self._inference.metadata(call, versions, signature))
