"""The last five minutes of each model, in steps of a few seconds: what the page's plots are drawn from.

Owns the differences between the counters of `/metrics` at one moment and the next, so that the page and a
Prometheus that scrapes them never disagree. It counts nothing itself.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from tfsd.control.metrics.request_counts import BUCKETS, RequestCounts

STEP_SECONDS = 5.0
STEPS = 60
BatchTotals = tuple[float, float, float, float]  # batches, their requests' rows, waits, microseconds waited


@dataclasses.dataclass
class Step:
    """What happened to one model within a step. `seconds` counts requests by duration, as BUCKETS."""

    requests: int = 0
    errors: int = 0
    seconds: list[int] = dataclasses.field(default_factory=lambda: [0] * len(BUCKETS))
    total_seconds: float = 0.0
    batches: float = 0.0
    rows: float = 0.0
    waits: float = 0.0
    waited_micros: float = 0.0

    def add(self, other: Step) -> None:
        self.requests += other.requests
        self.errors += other.errors
        self.seconds = [a + b for a, b in zip(self.seconds, other.seconds, strict=True)]
        self.total_seconds += other.total_seconds
        self.batches += other.batches
        self.rows += other.rows
        self.waits += other.waits
        self.waited_micros += other.waited_micros


class RecentRequests:
    """Steps by model, the oldest first. `tick` is called every STEP_SECONDS."""

    def __init__(
        self, counts: RequestCounts, batching: Callable[[], Mapping[str, BatchTotals]] = dict
    ) -> None:
        """`batching` returns the model servers' totals by model, if they batch."""
        self._counts = counts
        self._batching = batching
        self._steps: deque[dict[str, Step]] = deque(maxlen=STEPS)
        self._before = self._totals()

    def tick(self) -> None:
        """End a step."""
        now = self._totals()
        step = {}
        for model, total in now.items():
            difference = _difference(total, self._before.get(model))
            if difference.requests or difference.batches:
                step[model] = difference
        self._before = now
        self._steps.append(step)

    def steps(self, model: str) -> list[Step]:
        """The model's steps, as many as there were since the start; a quiet one is empty."""
        return [step.get(model, Step()) for step in self._steps]

    def _totals(self) -> dict[str, Step]:
        totals: dict[str, Step] = {}
        for (_, model, status), number in self._counts.requests.items():
            total = totals.setdefault(model, Step())
            total.requests += number
            total.errors += number if status >= "400" else 0
        for (_, model), latency in self._counts.latencies.items():
            total = totals.setdefault(model, Step())
            total.seconds = [a + b for a, b in zip(total.seconds, latency.counts, strict=True)]
            total.total_seconds += latency.total
        for model, batched in self._batching().items():
            total = totals.setdefault(model, Step())
            total.batches, total.rows, total.waits, total.waited_micros = batched
        return totals


def summary(steps: Iterable[Step]) -> Step:
    """All steps in one."""
    total = Step()
    for step in steps:
        total.add(step)
    return total


def quantile(step: Step, part: float) -> float | None:
    """The duration (seconds) that this `part` of the requests did not exceed, as Prometheus's
    histogram_quantile interpolates it; None without requests. The last bucket has no upper bound: its lower one
    is given."""
    number = sum(step.seconds)
    if not number:
        return None
    rank, below, low = part * number, 0, 0.0
    for bound, count in zip(BUCKETS, step.seconds, strict=True):
        if count and below + count >= rank:
            return low if math.isinf(bound) else low + (bound - low) * (rank - below) / count
        below += count
        low = bound
    return low


def _difference(now: Step, before: Step | None) -> Step:
    """What was added; all of it when a counter has begun anew."""
    if before is None or now.requests < before.requests:
        return now
    fresh = now.batches < before.batches  # the model server was started again
    return Step(
        now.requests - before.requests,
        now.errors - before.errors,
        [a - b for a, b in zip(now.seconds, before.seconds, strict=True)],
        now.total_seconds - before.total_seconds,
        now.batches - (0 if fresh else before.batches),
        now.rows - (0 if fresh else before.rows),
        now.waits - (0 if fresh else before.waits),
        now.waited_micros - (0 if fresh else before.waited_micros),
    )
