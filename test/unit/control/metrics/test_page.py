"""The Prometheus page: read back with Prometheus's own parser."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tfsd.control.health.health import Health
from tfsd.control.health.heartbeat_ages import Heartbeats
from tfsd.control.health.model_status import VersionStatus
from tfsd.control.metrics.page import render, stack_metrics
from tfsd.control.metrics.saved_counters import Memory
from tfsd.control.supervisor_client import Process
from tfsd.plan import Model, ModelServer, Plan, Pool
from tfsd.run_dir import RunDir

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def page(memory: Memory, health: Health, in_flight: int = 0) -> Samples:
    text = render(stack_metrics(memory, health, {"b": in_flight})).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def make_health() -> Health:
    health = Health(Heartbeats(1, 1), lambda: 0.0, needs_models=True, busy_limit=1, load_timeout=1)
    models = {n: Model(n, "/", (1,), (ModelServer(f"model-{n}", 1, 2),)) for n in ('a"\\', "b")}
    health.set_plan(Plan(models, {"default": Pool("default", "python", ())}))
    return health


def test_what_was_counted_is_on_the_page(tmp_path: Path) -> None:
    memory, health = Memory(RunDir(tmp_path)), make_health()
    lines = [
        b"1\tdirect\tb\t200\t0.002",
        b"1\tdirect\tb\t200\t0.004",
        b"1\tworker\tb\t500\t99.0\t2\t0.003\tcode\tid",
        b"junk",
    ]
    memory.requests.add(lines, ["b"])
    for pid in (1, 2, 3):
        memory.restarts.processes_seen({"worker-default": Process("worker-default", "RUNNING", pid, 0)})
    health.server_answered("b", "model-b", [VersionStatus("1", "AVAILABLE"), VersionStatus("2", "END")])

    samples = page(memory, health, in_flight=4)

    assert value(samples, "tfsd_requests_total", route="direct", model="b", status="200") == 2
    assert value(samples, "tfsd_requests_total", route="worker", model="b", status="500") == 1
    bucket = "tfsd_request_duration_seconds_bucket"
    assert value(samples, bucket, route="direct", model="b", le="0.001") == 0
    assert value(samples, bucket, route="direct", model="b", le="0.0025") == 1
    assert value(samples, bucket, route="direct", model="b", le="0.005") == 2
    assert value(samples, bucket, route="worker", model="b", le="60.0") == 0
    assert value(samples, bucket, route="worker", model="b", le="+Inf") == 1
    assert value(samples, "tfsd_request_duration_seconds_count", route="direct", model="b") == 2
    assert value(samples, "tfsd_request_duration_seconds_sum", route="direct", model="b") == 0.006
    assert value(samples, "tfsd_request_queue_seconds_bucket", model="b", le="0.0025") == 0
    assert value(samples, "tfsd_request_queue_seconds_bucket", model="b", le="0.005") == 1
    assert value(samples, "tfsd_requests_refused_total", model="b", cause="code") == 1
    assert value(samples, "tfsd_process_restarts_total", program="worker-default") == 2
    assert value(samples, "tfsd_requests_in_flight", model="b", route="worker") == 4
    assert value(samples, "tfsd_requests_in_flight", model='a"\\', route="direct") == 0
    assert value(samples, "tfsd_request_log_malformed_lines_total") == 1
    assert value(samples, "tfsd_model_available", model="b") == 1
    assert value(samples, "tfsd_model_available", model='a"\\') == 0
    state = {"model": "b", "program": "model-b"}
    assert value(samples, "tfsd_model_version_state", version="1", state="AVAILABLE", **state) == 1
    assert value(samples, "tfsd_model_version_state", version="2", state="END", **state) == 1


def test_a_page_can_be_made_before_anything_is_known(tmp_path: Path) -> None:
    health = Health(Heartbeats(1, 1), lambda: 0.0, needs_models=True, busy_limit=1, load_timeout=1)

    samples = page(Memory(RunDir(tmp_path)), health)

    assert value(samples, "tfsd_requests_in_flight", model="b", route="worker") is None
    assert value(samples, "tfsd_request_log_malformed_lines_total") == 0


def test_a_model_that_is_gone_is_on_the_page_no_more(tmp_path: Path) -> None:
    memory, health = Memory(RunDir(tmp_path)), make_health()
    memory.requests.add([b"1\tworker\tb\t200\t0.002", b"1\tworker\tc\t200\t0.002"], ["b", "c"])

    memory.requests.forget("b")
    memory.requests.add([b"1\tworker\tb\t200\t0.002"], ["c"])  # a line that nginx had kept back

    samples = page(memory, health)
    assert value(samples, "tfsd_requests_total", route="worker", model="b", status="200") is None
    assert value(samples, "tfsd_requests_total", route="worker", model="c", status="200") == 1
    assert value(samples, "tfsd_requests_total", route="worker", model="unknown", status="200") == 1
