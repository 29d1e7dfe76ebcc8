"""What the log says of the endpoint's health: each change once, with its reason and how long the state lasted.

An instance that the platform replaced at night has left a line. Owns the lines and when they are due.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

REPEAT_SECONDS = 600.0  # of what is degraded: easily overlooked, since requests are answered

log = logging.getLogger(__name__)


class Transitions:
    """Compares what it is told with what it was told last."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = clock()
        self._healthy: bool | None = None
        self._degraded: tuple[str, ...] = ()
        self._degraded_at = 0.0

    @property
    def lasting(self) -> float | None:
        """Seconds for which the endpoint has been as it is; None before the first look."""
        return None if self._healthy is None else self._clock() - self._since

    def observe(self, missing: Sequence[str], degraded: Sequence[str]) -> None:
        """Take what keeps the endpoint from being healthy, and what is left out of it; both may be nothing."""
        now = self._clock()
        healthy = not missing
        if healthy != self._healthy:
            lasted = now - self._since
            if healthy:
                log.info("Healthy after %.1f s.", lasted)
            elif self._healthy is not None:  # a start is no change
                log.warning("Not healthy, after %.0f s of health: %s.", lasted, "; ".join(missing))
            self._healthy, self._since = healthy, now
        self._report_degraded(tuple(degraded), now)

    def _report_degraded(self, degraded: tuple[str, ...], now: float) -> None:
        if degraded == self._degraded and (not degraded or now - self._degraded_at < REPEAT_SECONDS):
            return
        if degraded:
            log.warning("Degraded: %s.", "; ".join(degraded))
        else:
            log.info("Not degraded any more.")
        self._degraded, self._degraded_at = degraded, now
