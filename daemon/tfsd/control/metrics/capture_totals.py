"""How many requests were captured, and how many were lost, since the stack's start: over processes that come and go.

Owns the sums and the names of the metrics; each process says its own counts since it began.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tfsd.capture_files import BACKLOG, DISK, FAILED, SIZE
from tfsd.control.metrics.request_log import Position

if TYPE_CHECKING:
    from prometheus_client.core import Metric

REASONS = (SIZE, BACKLOG, DISK, FAILED)


class CaptureTotals:
    """`position` is how far nginx's log of captured requests was read."""

    def __init__(self) -> None:
        self.written = 0
        self.lost: Counter[str] = Counter()
        self.position: Position | None = None
        self._last: dict[str, dict[str, Any]] = {}

    def heard(self, program: str, document: Mapping[str, Any]) -> None:
        """A program says what it has written and lost `since` it began; what is no such document is passed over."""
        try:
            since, written = int(document["since"]), int(document["written"])
            lost = {str(reason): int(count) for reason, count in document["lost"].items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            return
        last = self._last.get(program)
        if last is None or last["since"] != since:
            last = {"written": 0, "lost": {}}
        self.written += written - last["written"]
        for reason, count in lost.items():
            self.lost[reason] += count - last["lost"].get(reason, 0)
        self._last[program] = {"since": since, "written": written, "lost": lost}

    def forget_all_but(self, programs: Container[str]) -> None:
        """Keep the last counts of these programs only; what the others have said stays in the sums."""
        self._last = {program: last for program, last in self._last.items() if program in programs}

    def metrics(self) -> Iterator[Metric]:
        """The families for `/metrics`."""
        from prometheus_client.core import CounterMetricFamily

        yield CounterMetricFamily(
            "tfsd_capture_written",
            "Sampled requests that were written to the capture directory.",
            self.written,
        )
        lost = CounterMetricFamily(
            "tfsd_capture_lost", "Sampled requests that were not captured, by reason.", labels=["reason"]
        )
        for reason in REASONS:
            lost.add_metric([reason], self.lost[reason])
        yield lost

    def to_document(self) -> dict[str, Any]:
        """Everything, as JSON-able values."""
        return {
            "written": self.written,
            "lost": dict(self.lost),
            "last": self._last,
            "position": [self.position.inode, self.position.offset] if self.position else None,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> CaptureTotals:
        """The inverse of `to_document`. Raises KeyError, TypeError or ValueError for anything else."""
        totals = cls()
        totals.written = int(document["written"])
        totals.lost = Counter({str(key): int(number) for key, number in document["lost"].items()})
        totals._last = {str(key): dict(value) for key, value in document["last"].items()}
        totals.position = Position(*document["position"]) if document["position"] else None
        return totals
