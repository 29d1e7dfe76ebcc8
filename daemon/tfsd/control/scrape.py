"""Numbers that other processes keep: the model servers' own counters, and nginx's requests in flight.

Owns the asking, at the time of a scrape, and the names that these counters get. A process that does not
answer at once, or offers no such page, adds nothing.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from pathlib import Path

import gevent
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from tfsd.control.connections import LocalConnection, UnixConnection, fetch
from tfsd.plan import Plan

TIMEOUT = 0.5
MODEL_SERVER_PAGE = "/monitoring/prometheus/metrics"
PREFIX = ":tensorflow:serving:"
NGINX_SOCKET_NAME = "nginx-status.sock"
NGINX_PAGE = "/status"
SCRAPE_ITSELF = 2  # the scrape, and its own question to nginx


def requests_in_flight(run_dir: Path) -> int | None:
    """The requests that nginx is working on, without the scrape itself; None when it does not say."""
    try:
        status, body = fetch(UnixConnection(run_dir / NGINX_SOCKET_NAME, TIMEOUT), NGINX_PAGE)
    except (OSError, http.client.HTTPException):
        return None
    writing = re.search(rb"Writing: (\d+)", body)
    return max(0, int(writing[1]) - SCRAPE_ITSELF) if status == 200 and writing else None


def model_server_metrics(plan: Plan | None) -> list[Metric]:
    """The counters of all model servers that answer within TIMEOUT, labelled by model and program."""
    targets = (
        [(m.name, s.program, s.rest_port) for m in plan.models.values() for s in m.servers] if plan else []
    )
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
