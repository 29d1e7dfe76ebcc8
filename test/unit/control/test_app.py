"""The routes of the control plane, called as WSGI."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.wsgi import get
from tfsd.control.app import METRICS_CONTENT_TYPE, make_app
from tfsd.settings import Settings


def call(
    path: str,
    method: str = "GET",
    missing: list[str] | None = None,
    degraded: list[str] | None = None,
    **environ: str,
) -> tuple[int, dict[str, str], bytes]:
    app = make_app(
        Settings.from_environ(environ, cpus=2),
        lambda: missing or [],
        lambda: degraded or [],
        lambda: b"metric 1\n",
    )
    return get(app, path, method)


def test_a_healthy_ping_is_empty() -> None:
    status, _, body = call("/ping")

    assert (status, body) == (200, b"")


def test_a_degraded_ping_is_healthy_and_says_what_is_left_out() -> None:
    status, headers, body = call("/ping", degraded=["model 'm' is served without version 2: broken"])

    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body)["degraded"] == ["model 'm' is served without version 2: broken"]


def test_an_unhealthy_ping_says_what_is_missing() -> None:
    status, headers, body = call("/ping", missing=["a is down", "b is down"])

    assert status == 503
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == {
        "error": "Not healthy: a is down; b is down",
        "missing": ["a is down", "b is down"],
    }


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, (8, "MultiRecord", 6)),
        ({"SAGEMAKER_MODEL_SERVER_WORKERS": "3"}, (12, "MultiRecord", 6)),
        ({"SAGEMAKER_MODEL_SERVER_WORKERS": "30"}, (16, "MultiRecord", 6)),
        ({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "50"}, (2, "MultiRecord", 50)),
        ({"SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "40"}, (40, "MultiRecord", 2)),
        (
            {
                "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "5",
                "SAGEMAKER_BATCH_STRATEGY": "SingleRecord",
                "SAGEMAKER_MAX_PAYLOAD_IN_MB": "0",
            },
            (5, "SingleRecord", 0),
        ),
        (
            {"SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "0", "SAGEMAKER_BATCH_STRATEGY": "MULTI_RECORD"},
            (8, "MultiRecord", 6),
        ),
    ],
)
def test_execution_parameters_repeat_the_users_settings(
    environ: dict[str, Any], expected: tuple[int, str, int]
) -> None:
    status, headers, body = call("/execution-parameters", **environ)
    transforms, strategy, payload = expected

    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {
        "MaxConcurrentTransforms": transforms,
        "BatchStrategy": strategy,
        "MaxPayloadInMB": payload,
    }


def test_metrics_are_served_in_prometheus_text_format() -> None:
    status, headers, body = call("/metrics")

    assert (status, body) == (200, b"metric 1\n")
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_what_is_answered_while_metrics_are_gathered_is_not_mixed_with_them() -> None:
    """They take their time, and Bottle has one `response` for all greenlets of a thread."""

    def metrics() -> bytes:
        assert get(app, "/nowhere", "GET")[0] == 404
        return b"metric 1\n"

    app = make_app(Settings.from_environ({}, cpus=2), list, list, metrics)
    status, headers, body = get(app, "/metrics", "GET")
    assert (status, headers["Content-Type"], body) == (200, METRICS_CONTENT_TYPE, b"metric 1\n")


@pytest.mark.parametrize("path", ["/", "/pingpong", "/ping/", "/models", "/models/x/invoke"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_path_is_404_in_json(path: str, method: str) -> None:
    status, headers, body = call(path, method)

    assert (status, headers["Content-Type"]) == (404, "application/json")
    assert json.loads(body).keys() == {"error"}


@pytest.mark.parametrize("path", ["/ping", "/metrics", "/execution-parameters"])
def test_a_wrong_method_is_405_in_json(path: str) -> None:
    status, headers, body = call(path, "POST")

    assert (status, headers["Content-Type"], headers["Allow"]) == (405, "application/json", "GET")
    assert json.loads(body).keys() == {"error"}
