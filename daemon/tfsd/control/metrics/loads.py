"""How long models take to load, and how loading ended: made of the states that the model servers report.

Owns the counters. A load begins when a version is first seen on its way to AVAILABLE, or when its model server was
started if that came first (a model server tells nothing while it loads); it ends AVAILABLE or with an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tfsd.control.health.model_status import AVAILABLE, VersionStatus

if TYPE_CHECKING:
    from prometheus_client.core import Metric

SUCCESS, FAILURE = "success", "failure"


class Loads:
    """Loads by model since control started."""

    def __init__(self, clock: Callable[[], float], started: Callable[[str], float | None]) -> None:
        """`clock` gives Unix time, `started` the time of a program's last start, None when it does not run."""
        self._clock = clock
        self._started = started
        self._begun: dict[tuple[str, str, str], float] = {}
        self._ended: dict[tuple[str, str, str], str] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.seconds: dict[tuple[str, str, str], float] = {}
        self.last_success: dict[str, bool] = {}

    def changed(self, model: str, program: str, status: VersionStatus) -> None:
        """A model server says something new of a version."""
        key, now = (model, program, status.version), self._clock()
        first = key not in self._begun
        begun = self._begun.setdefault(key, now)
        outcome = SUCCESS if status.state == AVAILABLE else FAILURE if status.error else None
        if outcome is None:
            self._ended.pop(key, None)
        elif self._ended.get(key) != outcome:
            self._ended[key] = outcome
            self.counts[model, outcome] += 1
            self.last_success[model] = outcome == SUCCESS
            if outcome == SUCCESS:
                # A server that tells nothing before it has loaded is asked too late to see the beginning.
                self.seconds[key] = now - ((self._started(program) if first else None) or begun)

    def gone(self, model: str, program: str, version: str) -> None:
        """A model server does not have the version any more, or does not answer: the next load is a new one."""
        self._begun.pop((model, program, version), None)
        self._ended.pop((model, program, version), None)

    def forget(self, model: str) -> None:
        """Drop all that is known of a model that is gone."""
        for store in (self._begun, self._ended, self.seconds):
            for key in [key for key in store if key[0] == model]:
                del store[key]
        for count in [count for count in self.counts if count[0] == model]:
            del self.counts[count]
        self.last_success.pop(model, None)

    def metrics(self) -> Iterator[Metric]:
        """What /metrics shows of it."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        seconds = GaugeMetricFamily(
            "tfsd_model_load_seconds",
            "How long the last load of a model's version took, within a second.",
            labels=["model", "program", "version"],
        )
        for key, value in self.seconds.items():
            seconds.add_metric(list(key), value)
        yield seconds
        success = GaugeMetricFamily(
            "tfsd_model_last_load_success", "1 when the last load of a model succeeded.", labels=["model"]
        )
        for model, good in self.last_success.items():
            success.add_metric([model], good)
        yield success
        loads = CounterMetricFamily(
            "tfsd_model_loads", "Loads of a model's versions that ended.", labels=["model", "outcome"]
        )
        for (model, outcome), number in self.counts.items():
            loads.add_metric([model, outcome], number)
        yield loads
