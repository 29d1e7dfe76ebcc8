"""Numbers that other processes keep: everything that the model servers export.

Owns the asking, at the time of a scrape, and the names that these metrics get. Nothing is merged over processes:
each has the label `program`, and Prometheus adds up histograms whose buckets are the same. A process that does
not answer at once, or offers no such page, adds nothing.
"""

from __future__ import annotations

import http.client
from collections import defaultdict
from collections.abc import Iterator

import gevent
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tfsd.control.connections import LocalConnection, fetch
from tfsd.control.health.status_polls import StatusPolls
from tfsd.plan import Plan

TIMEOUT = 0.5
MODEL_SERVER_PAGE = "/monitoring/prometheus/metrics"
PREFIX = ":tensorflow:"
REQUESTS = "tensorflow_serving_request_count"
HELP = "Exported by the model server."


def model_server_metrics(plan: Plan | None, polls: StatusPolls) -> list[Metric]:
    """What all model servers that answer within TIMEOUT export, labelled by model and program.

    The names are TensorFlow Serving's with underscores for colons, and (by prometheus_client's parser) `_total`
    behind a counter's. A metric of a whole process (graph runs, say) has the model's name when the process
    serves one model; when models share it, the label `model` is empty. Requests leave out control's own `polls`.
    """
    targets = _targets(plan)
    pages = {program: gevent.spawn(_page, port) for program, (port, _) in targets.items()}
    gevent.joinall(list(pages.values()), timeout=TIMEOUT)
    families: dict[str, Metric] = {}
    for program, (_, models) in targets.items():
        only = models[0] if len(models) == 1 else ""
        for family in _families(pages[program].value or ""):
            merged = families.setdefault(family.name, Metric(family.name, HELP, family.type))
            if merged.type != family.type:
                continue  # two model servers of different versions disagree on what this is
            for sample in family.samples:
                labels = dict(sample.labels)
                labels["model"] = labels.pop("model_name", "") or only
                value = sample.value
                if family.name == REQUESTS:
                    value = polls.others(program, labels["model"], labels.get("status", ""), value)
                    if not value:
                        continue  # nobody but us has asked
                merged.add_sample(sample.name, {**labels, "program": program}, value)
    gevent.killall(list(pages.values()), block=False)
    return [family for family in families.values() if family.samples]


def _targets(plan: Plan | None) -> dict[str, tuple[int, list[str]]]:
    """(REST port, names of its models) of each model server, by program: a shared one is asked once."""
    ports: dict[str, int] = {}
    models: dict[str, list[str]] = defaultdict(list)
    for model in plan.models.values() if plan else ():
        for server in model.servers:
            ports[server.program] = server.rest_port
            models[server.program].append(model.name)
    return {program: (port, models[program]) for program, port in ports.items()}


def _page(port: int) -> str:
    try:
        status, body = fetch(LocalConnection(port, TIMEOUT), MODEL_SERVER_PAGE)
    except (OSError, http.client.HTTPException):
        return ""
    return body.decode("utf-8", "replace") if status == 200 else ""


def _families(page: str) -> Iterator[Metric]:
    """The metrics of a page under plain names. A page that cannot be read ends where that shows."""
    lines = [line for line in page.splitlines() if line.startswith((PREFIX, f"# TYPE {PREFIX}"))]
    try:
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            plain = Metric(_plain(family.name), HELP, family.type)
            for sample in family.samples:
                plain.add_sample(_plain(sample.name), sample.labels, sample.value)
            yield plain
    except ValueError:
        return


def _plain(name: str) -> str:
    return name.strip(":").replace(":", "_").replace("/", "_")
