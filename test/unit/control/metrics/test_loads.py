"""Loads seen through the states that model servers report."""

from __future__ import annotations

from tfsd.control.health.model_status import VersionStatus
from tfsd.control.metrics.loads import Loads
from tfsd.control.metrics.page import render

AVAILABLE = VersionStatus("1", "AVAILABLE")
LOADING = VersionStatus("1", "LOADING")
FAILED = VersionStatus("1", "END", "NOT_FOUND: no variables")


def loads_at(*moments: float) -> Loads:
    times = iter(moments)
    return Loads(lambda: next(times), {"model-m": 90.0}.get)


def test_a_load_that_is_seen_from_its_beginning() -> None:
    loads = loads_at(100, 103, 104)
    loads.changed("m", "model-m", LOADING)
    loads.changed("m", "model-m", AVAILABLE)
    loads.changed("m", "model-m", AVAILABLE)

    text = render(loads.metrics()).decode()

    assert 'tfsd_model_load_seconds{model="m",program="model-m",version="1"} 3.0' in text
    assert 'tfsd_model_last_load_success{model="m"} 1.0' in text
    assert 'tfsd_model_loads_total{model="m",outcome="success"} 1.0' in text


def test_a_server_that_answers_only_when_it_has_loaded_took_since_its_start() -> None:
    loads = loads_at(100)
    loads.changed("m", "model-m", AVAILABLE)
    assert loads.seconds == {("m", "model-m", "1"): 10}


def test_a_failure_and_the_load_after_it() -> None:
    loads = loads_at(1, 2, 3, 4)
    loads.changed("m", "model-m", LOADING)
    loads.changed("m", "model-m", FAILED)
    loads.changed("m", "model-m", FAILED)
    assert (loads.counts["m", "failure"], loads.last_success["m"]) == (1, False)

    loads.gone("m", "model-m", "1")
    loads.changed("m", "model-m", AVAILABLE)
    assert (loads.counts["m", "success"], loads.last_success["m"]) == (1, True)


def test_a_model_that_is_gone_leaves_nothing() -> None:
    loads = loads_at(1, 2)
    loads.changed("m", "model-m", AVAILABLE)
    loads.forget("m")
    assert not any(line for line in render(loads.metrics()).decode().splitlines() if line[0] != "#")
