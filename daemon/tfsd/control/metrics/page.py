"""The page that `/metrics` answers, in Prometheus's text format (contract, section 6).

Owns the names of the metrics. It counts nothing: it renders what the parts of control know, on a registry
made for one page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from tfsd.control.health.health import Health
from tfsd.control.metrics.processes import process_metrics
from tfsd.control.metrics.request_counts import BUCKETS, Latency
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


def stack_metrics(
    memory: Memory,
    health: Health,
    in_flight: Mapping[str, int],
    direct: Mapping[str, float] = MappingProxyType({}),
    dropped_lines: int = 0,
) -> Iterator[Metric]:
    """Everything that control knows itself, the requests `in_flight` in the workers and on the `direct` route, by
    model, and how many lines of the log were dropped."""
    yield CounterMetricFamily(
        "tfsd_log_lines_dropped", "Lines of the log that were dropped, since nobody read them.", dropped_lines
    )
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
        "tfsd_requests_in_flight",
        "Requests that are being answered: counted by the workers; on the direct route the mean of the last seconds.",
        labels=["model", "route"],
    )
    for model in health.plan.models if health.plan else ():
        requests.add_metric([model, "worker"], in_flight.get(model, 0))
        requests.add_metric([model, "direct"], direct.get(model, 0.0))
    yield requests


def _request_metrics(memory: Memory) -> Iterator[Metric]:
    counts = memory.requests
    requests = CounterMetricFamily(
        "tfsd_requests", "Requests answered, without pings.", labels=["route", "model", "status"]
    )
    for key, number in counts.requests.items():
        requests.add_metric(list(key), number)
    yield requests
    yield _histogram(
        "tfsd_request_duration_seconds",
        "Time from the first byte of a request to the last byte of its response.",
        ("route", "model"),
        counts.latencies,
    )
    yield _histogram(
        "tfsd_request_queue_seconds",
        "Time from when nginx passed a request on until a worker began with it.",
        ("model",),
        {(model,): queued for model, queued in counts.queued.items()},
    )
    refused = CounterMetricFamily(
        "tfsd_requests_refused",
        "Requests answered with an error status, by whose error it is.",
        labels=["model", "cause"],
    )
    for (model, cause), number in counts.refused.items():
        refused.add_metric([model, cause], number)
    yield refused
    yield CounterMetricFamily(
        "tfsd_request_log_malformed_lines",
        "Lines of the request log that could not be read.",
        counts.malformed,
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


def memory_metrics(available: int, limit: int) -> Iterator[Metric]:
    """What the container may use of memory, and what of it is left, in bytes."""
    yield GaugeMetricFamily("tfsd_memory_limit_bytes", "Memory that the container may use.", limit)
    yield GaugeMetricFamily(
        "tfsd_memory_available_bytes",
        "Memory that is left of it; what the kernel gives back on demand counts as left.",
        available,
    )


def _histogram(
    name: str, documentation: str, labels: Sequence[str], latencies: Mapping[Any, Latency]
) -> Metric:
    family = HistogramMetricFamily(name, documentation, labels=labels)
    bounds = ["+Inf" if math.isinf(bound) else str(bound) for bound in BUCKETS]
    for values, latency in latencies.items():
        buckets = list(zip(bounds, accumulate(latency.counts), strict=True))
        family.add_metric(list(values), buckets, latency.total)
    return family


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
