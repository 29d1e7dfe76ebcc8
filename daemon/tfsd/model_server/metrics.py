"""Counters of requests, in the real server's names and in Prometheus' text format."""

from __future__ import annotations

import threading
from bisect import bisect_left

from tfsd.model_server.errors import Code

_PREFIX = ":tensorflow:serving:"
_BOUNDS = tuple(10 * 1.8**power for power in range(33))  # microseconds, as the real server's samplers


class _Histogram:
    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_BOUNDS) + 1)
        self.total = 0.0


class Metrics:
    """Request counts by model and status, latencies by model, API and entry point."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], int] = {}
        self._latencies: dict[tuple[str, str, str], _Histogram] = {}

    def record(self, model: str, api: str, entrypoint: str, code: Code, seconds: float) -> None:
        """Count one request.

        Args:
            api: `Predict`, `Classify`, ... over gRPC; `predict`, ... over REST.
            entrypoint: `GRPC` or `REST`.
            code: its outcome; only requests that went well have a latency, as in the real server.
        """
        micros = seconds * 1e6
        with self._lock:
            count = (model, code.name)
            self._counts[count] = self._counts.get(count, 0) + 1
            if code is Code.OK:
                key = (model, api, entrypoint)
                histogram = self._latencies.get(key) or self._latencies.setdefault(key, _Histogram())
                histogram.buckets[bisect_left(_BOUNDS, micros)] += 1
                histogram.total += micros

    def render(self) -> str:
        """All metrics in Prometheus' text format 0.0.4."""
        with self._lock:
            lines = [f"# TYPE {_PREFIX}request_count counter"]
            for (model, status), count in sorted(self._counts.items()):
                lines.append(
                    f'{_PREFIX}request_count{{model_name="{_escape(model)}",status="{status}"}} {count}'
                )
            lines.append(f"# TYPE {_PREFIX}request_latency histogram")
            for (model, api, entrypoint), histogram in sorted(self._latencies.items()):
                labels = f'model_name="{_escape(model)}",API="{api}",entrypoint="{entrypoint}"'
                lines.extend(_histogram(f"{_PREFIX}request_latency", labels, histogram))
        return "\n".join(lines) + "\n"


def _histogram(name: str, labels: str, histogram: _Histogram) -> list[str]:
    lines, total = [], 0
    for bound, count in zip((*map("{:g}".format, _BOUNDS), "+Inf"), histogram.buckets, strict=True):
        total += count
        lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {total}')
    return [*lines, f"{name}_sum{{{labels}}} {histogram.total:g}", f"{name}_count{{{labels}}} {total}"]


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
