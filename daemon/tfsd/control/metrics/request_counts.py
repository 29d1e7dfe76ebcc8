"""Requests counted by route, model and status, and their latencies: the arithmetic behind `/metrics`.

Owns the format of a line of `RUN/requests.log` (nginx's log format `metrics`) and the counters made of it.
It reads no file. Labels stay bounded: only models that the plan names get one.
"""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Container, Iterable
from typing import Any
from urllib.parse import unquote

from tfsd.control.metrics.large_answers import LARGE_BYTES
from tfsd.errors import CAUSES, MODEL_SERVER, NGINX

ROUTES = frozenset({"direct", "worker", "control"})
NONE = "-"  # nginx's word for a variable without a value
UNKNOWN_MODEL = "unknown"
BYTES_SENT = 5
QUEUED, CAUSE = 6, 7  # fields of a line that only workers give
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, math.inf)


@dataclasses.dataclass
class Latency:
    """A histogram of seconds: `counts` has one number for each of BUCKETS, not cumulated."""

    counts: list[int] = dataclasses.field(default_factory=lambda: [0] * len(BUCKETS))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


class RequestCounts:
    """Counters since the stack's start. `requests` is by (route, model, status), `latencies` by (route, model),
    `queued` (waits for a worker) by model, `refused` by (model, cause).

    `malformed` counts the lines that were none.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.latencies: dict[tuple[str, str], Latency] = {}
        self.queued: dict[str, Latency] = {}
        self.refused: Counter[tuple[str, str]] = Counter()
        self.malformed = 0
        self._labels: dict[tuple[bytes, bytes], tuple[str, str]] = {}

    def add(
        self,
        lines: Iterable[bytes],
        models: Container[str],
        on_error: Callable[[list[bytes]], None] = lambda fields: None,
        on_large: Callable[[bytes], None] = lambda label: None,
    ) -> None:
        """Count lines (without their line ends): tab-separated time, route, model, status, seconds, more.

        `models` are the names that may become labels; `on_error` gets the fields of each line with an error's
        status, `on_large` the logged name of a model whose answer on the direct route was large. Never raises: what
        cannot be read is `malformed`.
        """
        for line in lines:
            fields = line.split(b"\t")
            seconds = _seconds(fields[4]) if len(fields) >= 5 else None
            if seconds is None or not _is_status(fields[3]):
                self.malformed += 1
                continue
            labels = self._labels.get((fields[1], fields[2])) or self._new_labels(
                fields[1], fields[2], models
            )
            self.requests[(*labels, fields[3].decode())] += 1
            latency = self.latencies.get(labels) or self.latencies.setdefault(labels, Latency())
            latency.add(seconds)
            if len(fields) > CAUSE and (waited := _seconds(fields[QUEUED])) is not None:
                queue = self.queued.get(labels[1]) or self.queued.setdefault(labels[1], Latency())
                queue.add(waited)
            if fields[1] == b"direct" and len(fields) > CAUSE and _is_large(fields[BYTES_SENT]):
                on_large(fields[2])
            if fields[3] >= b"400":
                self.refused[labels[1], _cause(fields, labels[0])] += 1
                on_error(fields)

    def _new_labels(self, route: bytes, model: bytes, models: Container[str]) -> tuple[str, str]:
        name, path = unquote(model.decode("utf-8", "replace")), route.decode("utf-8", "replace")
        labels = path if path in ROUTES else NONE, name if name in models or name == NONE else UNKNOWN_MODEL
        if labels == (path, name):  # what is unknown may be garbage without end, or be known later
            self._labels[route, model] = labels
        return labels

    def forget(self, model: str) -> None:
        """Drop all that was counted for a model that is gone."""
        self.requests = Counter({key: count for key, count in self.requests.items() if key[1] != model})
        self.latencies = {key: value for key, value in self.latencies.items() if key[1] != model}
        self.queued.pop(model, None)
        self.refused = Counter({key: count for key, count in self.refused.items() if key[0] != model})
        self._labels = {key: labels for key, labels in self._labels.items() if labels[1] != model}

    def to_document(self) -> dict[str, Any]:
        """Everything counted, as JSON-able values."""
        return {
            "requests": [[*key, count] for key, count in self.requests.items()],
            "latencies": [[*key, value.counts, value.total] for key, value in self.latencies.items()],
            "queued": [[model, value.counts, value.total] for model, value in self.queued.items()],
            "refused": [[*key, count] for key, count in self.refused.items()],
            "malformed": self.malformed,
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> RequestCounts:
        """The inverse of `to_document`. Raises ValueError, KeyError or TypeError for anything else."""
        counts = cls()
        for route, model, status, count in document["requests"]:
            counts.requests[route, model, status] = int(count)
        for route, model, buckets, total in document["latencies"]:
            counts.latencies[route, model] = _latency(buckets, total)
        for model, buckets, total in document["queued"]:
            counts.queued[model] = _latency(buckets, total)
        for model, cause, count in document["refused"]:
            counts.refused[model, cause] = int(count)
        counts.malformed = int(document["malformed"])
        return counts


def _is_large(field: bytes) -> bool:
    return len(field) >= len(str(LARGE_BYTES)) and field.isdigit() and int(field) > LARGE_BYTES


def _latency(buckets: list[Any], total: Any) -> Latency:
    if len(buckets) != len(BUCKETS):
        raise ValueError("these latencies were counted in other buckets")
    return Latency([int(n) for n in buckets], float(total))


def _cause(fields: list[bytes], route: str) -> str:
    """Whose an error is: as the worker says; else the model server's when it was asked directly, or nginx's."""
    said = fields[CAUSE].decode("utf-8", "replace") if len(fields) > CAUSE else NONE
    return said if said in CAUSES else MODEL_SERVER if route == "direct" else NGINX


def _is_status(field: bytes) -> bool:
    return len(field) == 3 and field.isdigit()


def _seconds(field: bytes) -> float | None:
    try:
        seconds = float(field)
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None
