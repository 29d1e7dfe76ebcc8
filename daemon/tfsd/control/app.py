"""The routes of the control plane: /ping, /execution-parameters, /metrics, and the errors in JSON.

Owns HTTP and nothing else: what it answers is handed in. `/models` (multi-model endpoints) is `models.api`'s, a
cluster's probes are `health.probes`'s.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from bottle import Bottle, HTTPError, HTTPResponse, response

from tfsd.settings import Settings

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
TRANSFORMS_PER_WORKER = 4
PAYLOAD_MB = 6
MAX_PRODUCT_MB = 100  # of concurrent transforms and payload
BATCH_STRATEGIES = {"multirecord": "MultiRecord", "singlerecord": "SingleRecord"}


def make_app(
    settings: Settings,
    missing: Callable[[], list[str]],
    degraded: Callable[[], list[str]],
    metrics: Callable[[], bytes],
) -> Bottle:
    """The WSGI application.

    `missing` returns what keeps the endpoint from being healthy (nothing: it is healthy), `degraded` what is left out
    of a healthy one, `metrics` the page in Prometheus's text format.
    """
    app = Bottle()
    parameters = execution_parameters(settings)

    @app.get("/ping")
    def ping() -> Any:
        """Contract, section 2: 200 is healthy, and has an empty body unless something is left out."""
        return health_response(missing(), degraded())

    @app.get("/execution-parameters")
    def show_execution_parameters() -> HTTPResponse:
        return json_response(200, parameters)

    @app.get("/metrics")
    def show_metrics() -> HTTPResponse:
        # not by `response`, which other greenlets have in hand while this one waits
        return HTTPResponse(metrics(), 200, headers={"Content-Type": METRICS_CONTENT_TYPE})

    app.default_error_handler = _error
    return app


def execution_parameters(settings: Settings) -> dict[str, object]:
    """What batch transform may ask of the container (contract, section 5); a user's settings are repeated.

    MaxPayloadInMB 0 means unlimited. 0 concurrent transforms is the platform's way of asking for our choice, which
    keeps their product at 100 or less, as the platform wants it.
    """
    strategy = settings.batch_strategy or "MultiRecord"
    transforms, payload = settings.max_concurrent_transforms, settings.max_payload_mb
    if payload is None:
        payload = max(1, min(PAYLOAD_MB, MAX_PRODUCT_MB // (transforms or 1)))
    if not transforms:
        most = MAX_PRODUCT_MB // payload if payload else MAX_PRODUCT_MB
        transforms = max(1, min(TRANSFORMS_PER_WORKER * settings.workers, most))
    return {
        "MaxConcurrentTransforms": transforms,
        "BatchStrategy": BATCH_STRATEGIES.get(strategy.replace("_", "").lower(), strategy),
        "MaxPayloadInMB": payload,
    }


def health_response(problems: Sequence[str], left_out: Sequence[str] = ()) -> HTTPResponse:
    """503 with what keeps the endpoint from being healthy, else 200 with what is left out, if anything is."""
    if problems:
        return json_response(503, {"error": "Not healthy: " + "; ".join(problems), "missing": problems})
    if left_out:
        return json_response(200, {"status": "degraded", "degraded": left_out})
    return HTTPResponse("", 200)


def json_response(status: int, document: object) -> HTTPResponse:
    """An answer with a JSON body."""
    return HTTPResponse(json.dumps(document), status, headers={"Content-Type": "application/json"})


def _error(error: HTTPError) -> str:
    response.content_type = "application/json"
    texts = {404: "no such path here", 405: "this path does not take this method"}
    return json.dumps({"error": texts.get(error.status_code, str(error.body))})
