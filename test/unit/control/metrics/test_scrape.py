"""Counters asked of the other processes; what does not answer adds nothing."""

from __future__ import annotations

import pytest

from support.control import ModelServerStub
from tfsd.control.health.status_polls import StatusPolls
from tfsd.control.metrics import scrape
from tfsd.control.metrics.page import render
from tfsd.control.metrics.scrape import model_server_metrics
from tfsd.plan import Model, ModelServer, Plan

NO_POLLS = StatusPolls(lambda program: None)
PAGE = """# TYPE :tensorflow:core:graph_runs counter
:tensorflow:core:graph_runs{} 7
# TYPE :tensorflow:serving:request_count counter
:tensorflow:serving:request_count{model_name="m",status="OK"} 6
:tensorflow:serving:request_count{model_name="m",status="NOT_FOUND"} 1
# TYPE :tensorflow:serving:request_latency histogram
:tensorflow:serving:request_latency_bucket{model_name="m",API="predict",entrypoint="REST",le="+Inf"} 1
:tensorflow:serving:request_latency_sum{model_name="m",API="predict",entrypoint="REST"} 1
:tensorflow:serving:request_latency_count{model_name="m",API="predict",entrypoint="REST"} 1
"""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a page may take longer than a scrape waits."""
    monkeypatch.setattr(scrape, "TIMEOUT", 20.0)


def plan(*ports: int) -> Plan:
    servers = tuple(ModelServer(f"model-m-{n}", port, 0) for n, port in enumerate(ports))
    return Plan({"m": Model("m", "/", (1,), servers)}, {})


def lines_of(*ports: int) -> list[str]:
    text = render(model_server_metrics(plan(*ports), NO_POLLS)).decode()
    return [line for line in text.splitlines() if not line.startswith("# HELP")]


def test_a_model_server_s_metrics_are_passed_on_under_plain_names(model_server: ModelServerStub) -> None:
    model_server.metrics = PAGE

    latency, labels = "tensorflow_serving_request_latency", 'API="predict",entrypoint="REST"'
    assert lines_of(model_server.port) == [
        "# TYPE tensorflow_core_graph_runs_total counter",
        'tensorflow_core_graph_runs_total{model="m",program="model-m-0"} 7.0',
        "# TYPE tensorflow_serving_request_count_total counter",
        'tensorflow_serving_request_count_total{model="m",program="model-m-0",status="OK"} 6.0',
        'tensorflow_serving_request_count_total{model="m",program="model-m-0",status="NOT_FOUND"} 1.0',
        f"# TYPE {latency} histogram",
        f'{latency}_bucket{{{labels},le="+Inf",model="m",program="model-m-0"}} 1.0',
        f'{latency}_sum{{{labels},model="m",program="model-m-0"}} 1.0',
        f'{latency}_count{{{labels},model="m",program="model-m-0"}} 1.0',
    ]


def test_instances_stay_apart(model_server: ModelServerStub) -> None:
    model_server.metrics = PAGE

    counted = [line for line in lines_of(model_server.port, model_server.port) if "OK" in line]
    assert counted == [
        f'tensorflow_serving_request_count_total{{model="m",program="model-m-{n}",status="OK"}} 6.0'
        for n in (0, 1)
    ]


def test_a_page_that_is_cut_off_counts_up_to_there(model_server: ModelServerStub) -> None:
    model_server.metrics = PAGE + "# TYPE :tensorflow:serving:x counter\n:tensorflow:serving:x{broken 1\n"

    assert any("graph_runs" in line for line in lines_of(model_server.port))


@pytest.mark.parametrize(
    "page", [None, "", ":tensorflow:serving:x{broken 1\n", "# TYPE :tensorflow:serving:"]
)
def test_a_model_server_without_such_a_page_adds_nothing(
    model_server: ModelServerStub, page: str | None
) -> None:
    model_server.metrics = page

    assert model_server_metrics(plan(model_server.port), NO_POLLS) == []


def test_a_model_server_that_is_silent_or_gone_adds_nothing(
    model_server: ModelServerStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrape, "TIMEOUT", 0.05)
    model_server.released.clear()
    assert model_server_metrics(plan(model_server.port), NO_POLLS) == []

    model_server.stop()
    assert model_server_metrics(plan(model_server.port), NO_POLLS) == []


def test_no_plan_means_no_model_server() -> None:
    assert model_server_metrics(None, NO_POLLS) == []


def test_a_model_server_that_models_share_is_asked_once(model_server: ModelServerStub) -> None:
    model_server.metrics = PAGE
    server = ModelServer("models-0", model_server.port, 0)

    text = render(
        model_server_metrics(
            Plan({name: Model(name, "/", (1,), (server,)) for name in ("m", "n")}, {}), NO_POLLS
        )
    ).decode()

    assert text.count('model="m",program="models-0",status="OK"') == 1
    assert 'tensorflow_core_graph_runs_total{model="",program="models-0"} 7.0' in text


def test_control_s_own_polls_are_no_requests(model_server: ModelServerStub) -> None:
    model_server.metrics = PAGE
    polls = StatusPolls(lambda program: None)
    for _ in range(6):
        polls.poll("m", ModelServer("model-m-0", model_server.port, 0), 20)

    text = render(model_server_metrics(plan(model_server.port), polls)).decode()

    counted = [
        line for line in text.splitlines() if line.startswith("tensorflow_serving_request_count_total")
    ]
    assert counted == [
        'tensorflow_serving_request_count_total{model="m",program="model-m-0",status="NOT_FOUND"} 1.0'
    ]
