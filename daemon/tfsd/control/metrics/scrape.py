"""Numbers that other processes keep: the model servers' own counters.

Owns the asking, at the time of a scrape, and the names that these counters get. A process that does not
answer at once, or offers no such page, adds nothing.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import gevent
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from tfsd.control.connections import LocalConnection, fetch
from tfsd.plan import Plan

TIMEOUT = 0.5
MODEL_SERVER_PAGE = "/monitoring/prometheus/metrics"
PREFIX = ":tensorflow:serving:"


def model_server_metrics(plan: Plan | None) -> list[Metric]:
    """The counters of all model servers that answer within TIMEOUT, labelled by model and program."""
    models = plan.models.values() if plan else ()
    # A model server that several models share is asked once, and names them itself.
    targets = list({s.program: (m.name, s.program, s.rest_port) for m in models for s in m.servers}.values())
    pages = [gevent.spawn(_page, port) for _, _, port in targets]
    gevent.joinall(pages, timeout=TIMEOUT)
    families: dict[str, CounterMetricFamily] = {}
    for (model, program, _), page in zip(targets, pages, strict=True):
        for name, labels, value in _counters(page.value or ""):
            family = families.setdefault(name, CounterMetricFamily(name, "Counted by the model servers."))
            labels["model"] = labels.pop("model_name", model)
            family.add_sample(f"{name}_total", {**labels, "program": program}, value)
    gevent.killall(pages, block=False)
    return list(families.values())


def _page(port: int) -> str:
    try:
        status, body = fetch(LocalConnection(port, TIMEOUT), MODEL_SERVER_PAGE)
    except (OSError, http.client.HTTPException):
        return ""
    return body.decode("utf-8", "replace") if status == 200 else ""


def _counters(page: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """(name, labels, value) of TensorFlow Serving's own counters, their names with underscores for colons."""
    lines = [n for n in page.splitlines() if n.startswith((PREFIX, f"# TYPE {PREFIX}"))]
    try:
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            if family.type == "counter":
                for sample in family.samples:
                    yield family.name.strip(":").replace(":", "_"), dict(sample.labels), sample.value
    except ValueError:
        return
