"""The page that `/metrics` answers, in Prometheus's text format (contract, section 6).

Owns the names of the metrics. It counts nothing: it renders what the parts of control know, on a registry
made for one page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from tfsd.control.health.health import Health
from tfsd.control.metrics.processes import process_metrics
from tfsd.control.metrics.request_counts import BUCKETS
from tfsd.control.metrics.saved_counters import Memory


def render(families: Iterable[Metric]) -> bytes:
    """The text of these metrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(list(families)))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def stack_metrics(memory: Memory, health: Health, in_flight: Mapping[str, int]) -> Iterator[Metric]:
    """Everything that control knows itself, and the requests `in_flight` in the workers, by model."""
    yield from _request_metrics(memory)
    restarts = CounterMetricFamily(
        "tfsd_process_restarts", "Processes that were started again, by program.", labels=["program"]
    )
    for program in memory.restarts.pids:
        restarts.add_metric([program], memory.restarts.counts[program])
    yield restarts
    yield from process_metrics(memory.restarts.pids)
    yield from _model_metrics(health)
    yield _left_out(health)
    yield from memory.loads.metrics()
    requests = GaugeMetricFamily(
        "tfsd_requests_in_flight", "Requests that workers are answering.", labels=["model"]
    )
    for model in health.plan.models if health.plan else ():
        requests.add_metric([model], in_flight.get(model, 0))
    yield requests


def _request_metrics(memory: Memory) -> Iterator[Metric]:
    counts = memory.requests
    requests = CounterMetricFamily(
        "tfsd_requests", "Requests answered, without pings.", labels=["route", "model", "status"]
    )
    for key, number in counts.requests.items():
        requests.add_metric(list(key), number)
    yield requests
    latencies = HistogramMetricFamily(
        "tfsd_request_duration_seconds",
        "Time from a request's first byte to its answer's last.",
        labels=["route", "model"],
    )
    bounds: list[str] = [floatToGoString(bound) for bound in BUCKETS]  # type: ignore[no-untyped-call]
    for labels, latency in counts.latencies.items():
        buckets = list(zip(bounds, accumulate(latency.counts), strict=True))
        latencies.add_metric(list(labels), buckets, latency.total)
    yield latencies
    yield CounterMetricFamily(
        "tfsd_request_log_malformed_lines", "Lines of the log of requests that were none.", counts.malformed
    )


def _left_out(health: Health) -> Metric:
    left_out = GaugeMetricFamily(
        "tfsd_model_version_left_out",
        "1 for a version that cannot be loaded, beside others that are served.",
        labels=["model", "version"],
    )
    for model, versions in health.left_out().items():
        for version in versions:
            left_out.add_metric([model, version], 1)
    return left_out


def _model_metrics(health: Health) -> Iterator[Metric]:
    available = GaugeMetricFamily(
        "tfsd_model_available", "1 when a model server has a version AVAILABLE.", labels=["model"]
    )
    for model in health.plan.models.values() if health.plan else ():
        available.add_metric([model.name], health.available(model))
    yield available
    states = GaugeMetricFamily(
        "tfsd_model_version_state",
        "1 for the present state of a model's version on a model server.",
        labels=["model", "version", "program", "state"],
    )
    for seen in health.version_states():
        states.add_metric([seen.model, seen.version, seen.program, seen.state], 1)
    yield states
