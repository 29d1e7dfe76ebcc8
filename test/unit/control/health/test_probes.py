"""The probes of a cluster, called as WSGI."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bottle import Bottle

from support.wsgi import get
from tfsd.control.health.probes import Startup, add_probes
from tfsd.run_dir import RunDir


class Endpoint:
    """An endpoint whose health a test decides on."""

    def __init__(self, path: Path) -> None:
        self.run_dir = RunDir(path)
        self.missing: list[str] = []
        self.degraded: list[str] = []
        self.startup = Startup(self.run_dir)
        self.app = Bottle()
        add_probes(self.app, self.run_dir, self.startup, lambda: self.missing, lambda: self.degraded)

    def get(self, path: str) -> tuple[int, str]:
        status, _, body = get(self.app, path)
        return status, body.decode()


@pytest.fixture
def endpoint(tmp_path: Path) -> Endpoint:
    return Endpoint(tmp_path)


def test_a_healthy_endpoint_is_alive_ready_and_started(endpoint: Endpoint) -> None:
    assert [endpoint.get(path) for path in ("/livez", "/readyz", "/startupz")] == [(200, "")] * 3


def test_a_failing_model_ends_no_container(endpoint: Endpoint) -> None:
    endpoint.missing = ["model 'm' is not available"]
    assert endpoint.get("/livez") == (200, "")


def test_it_is_not_ready_without_a_model(endpoint: Endpoint) -> None:
    endpoint.missing = ["model 'm' is not available"]
    status, body = endpoint.get("/readyz")
    assert (status, json.loads(body)) == (
        503,
        {
            "error": "Not healthy: model 'm' is not available",
            "missing": ["model 'm' is not available"],
        },
    )


def test_it_is_ready_when_a_version_is_left_out(endpoint: Endpoint) -> None:
    endpoint.degraded = ["version 2 is left out"]
    status, body = endpoint.get("/readyz")
    assert (status, json.loads(body)["degraded"]) == (200, ["version 2 is left out"])


def test_it_is_not_ready_while_it_drains(endpoint: Endpoint) -> None:
    endpoint.run_dir.draining.touch()
    status, body = endpoint.get("/readyz")
    assert status == 503
    assert "drains" in json.loads(body)["error"]
    assert endpoint.get("/livez") == (200, "")


def test_it_has_started_once_it_was_healthy(endpoint: Endpoint) -> None:
    endpoint.missing = ["model 'm' is not available"]
    assert endpoint.get("/startupz")[0] == 503
    endpoint.missing = []
    assert endpoint.get("/startupz") == (200, "")
    endpoint.missing = ["model 'm' is not available"]
    assert endpoint.get("/startupz") == (200, "")


def test_health_counts_when_nobody_asked(endpoint: Endpoint) -> None:
    endpoint.startup.observe([])
    endpoint.missing = ["model 'm' is not available"]
    assert endpoint.get("/startupz") == (200, "")


def test_a_restarted_control_knows_that_it_has_started(tmp_path: Path) -> None:
    Endpoint(tmp_path).startup.observe([])
    again = Endpoint(tmp_path)
    again.missing = ["model 'm' is not available"]
    assert again.get("/startupz") == (200, "")


def test_a_disk_that_takes_no_mark_fails_no_probe(endpoint: Endpoint, tmp_path: Path) -> None:
    (tmp_path / f".{endpoint.run_dir.started.name}.partial").mkdir()
    assert endpoint.get("/startupz") == (200, "")
