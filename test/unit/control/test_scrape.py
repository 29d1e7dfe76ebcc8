"""Counters asked of the other processes; what does not answer adds nothing."""

from __future__ import annotations

import http.server
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tfsd.control import scrape
from tfsd.control.metrics import render
from tfsd.control.scrape import model_server_metrics, requests_in_flight
from tfsd.plan import Model, ModelServer, Plan

from .parts import ModelServerStub

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


def plan(*ports: int) -> Plan:
    servers = tuple(ModelServer(f"model-m-{n}", port, 0) for n, port in enumerate(ports))
    return Plan({"m": Model("m", "/", (1,), servers)}, {})


def test_a_model_servers_counters_are_passed_on_under_plain_names(model_server: ModelServerStub) -> None:
    model_server.metrics = PAGE

    text = render(model_server_metrics(plan(model_server.port, model_server.port))).decode()

    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        f'tensorflow_serving_request_count_total{{model="m",program="model-m-{n}",status="{status}"}} {count}'
        for n in (0, 1)
        for status, count in (("OK", "6.0"), ("NOT_FOUND", "1.0"))
    ]


@pytest.mark.parametrize(
    "page", [None, "", ":tensorflow:serving:x{broken 1\n", "# TYPE :tensorflow:serving:"]
)
def test_a_model_server_without_such_a_page_adds_nothing(
    model_server: ModelServerStub, page: str | None
) -> None:
    model_server.metrics = page

    assert model_server_metrics(plan(model_server.port)) == []


def test_a_model_server_that_is_silent_or_gone_adds_nothing(
    model_server: ModelServerStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrape, "TIMEOUT", 0.05)
    model_server.released.clear()
    assert model_server_metrics(plan(model_server.port)) == []

    model_server.stop()
    assert model_server_metrics(plan(model_server.port)) == []


def test_no_plan_means_no_model_server() -> None:
    assert model_server_metrics(None) == []


@pytest.fixture
def serve_status(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Starts what stands for nginx's stub_status, answering the given text."""
    servers: list[socketserver.BaseServer] = []

    def serve(text: str) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = socketserver.ThreadingUnixStreamServer(str(tmp_path / "nginx-status.sock"), Handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


STATUS = "Active connections: 9 \nserver accepts handled requests\n 16 16 18 \nReading: 1 Writing: {} Waiting: 1 \n"


@pytest.mark.parametrize(("writing", "in_flight"), [(5, 3), (2, 0), (1, 0)])
def test_requests_in_flight_are_those_of_nginx_without_the_scrape(
    tmp_path: Path, serve_status: Callable[[str], None], writing: int, in_flight: int
) -> None:
    serve_status(STATUS.format(writing))

    assert requests_in_flight(tmp_path) == in_flight


def test_nginx_that_does_not_say_is_tolerated(tmp_path: Path, serve_status: Callable[[str], None]) -> None:
    assert requests_in_flight(tmp_path) is None
    serve_status("something else")
    assert requests_in_flight(tmp_path) is None
