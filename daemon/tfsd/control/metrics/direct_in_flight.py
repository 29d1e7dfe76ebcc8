"""How many requests of the direct route are in flight, of which no process of ours keeps count.

Owns an estimate by Little's law: the durations of the requests that ended lately, divided by the time in which they
ended, are the number that was in flight on average.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tfsd.control.metrics.request_counts import RequestCounts

KEPT = 6  # looks, a second apart


class DirectInFlight:
    """The mean of the last seconds. `look` is called about once a second."""

    def __init__(self, counts: RequestCounts, clock: Callable[[], float]) -> None:
        self._counts = counts
        self._clock = clock
        self._looks: deque[tuple[float, dict[str, float]]] = deque(maxlen=KEPT)

    def look(self) -> None:
        """Note the durations counted so far."""
        totals = {
            model: latency.total
            for (route, model), latency in self._counts.latencies.items()
            if route == "direct"
        }
        self._looks.append((self._clock(), totals))

    def by_model(self) -> dict[str, float]:
        """The mean number of requests in flight between the first look kept and the last."""
        if len(self._looks) < 2:
            return {}
        (begun, before), (ended, after) = self._looks[0], self._looks[-1]
        elapsed = max(ended - begun, 1e-9)
        return {model: max(0.0, total - before.get(model, 0.0)) / elapsed for model, total in after.items()}
