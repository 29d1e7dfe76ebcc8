"""Confidence intervals of what was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"

    def scaled(self, factor: float) -> Interval:
        return Interval(self.value * factor, self.low * factor, self.high * factor)


def lower_quartile(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """What a quarter of the values do not exceed: whatever else runs on a machine only ever adds to a time."""
    result: np.ndarray = np.quantile(values, 0.25, axis=axis)
    return result


def of_time(samples: Sequence[float]) -> Interval:
    """The lower quartile of at least one sample, by the percentile bootstrap; a single sample has no width."""
    return _bootstrapped([samples], lower_quartile)


def of_speedup(one: Sequence[float], many: Sequence[float], size: int) -> Interval:
    """How much faster `size` requests go together than apart: size * time(one) / time(many), bootstrapped."""

    def ratio(single: np.ndarray, batch: np.ndarray, axis: int = -1) -> np.ndarray:
        return size * lower_quartile(single, axis) / lower_quartile(batch, axis)

    return _bootstrapped([one, many], ratio)


def _bootstrapped(samples: Sequence[Sequence[float]], statistic: Callable[..., np.ndarray]) -> Interval:
    arrays = tuple(np.asarray(one, float) for one in samples)
    value = float(statistic(*arrays))
    if min(map(len, arrays)) < 2 or all(np.ptp(array) == 0 for array in arrays):
        return Interval(value, value, value)
    found = stats.bootstrap(
        arrays,
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(value, float(found.low), float(found.high))


def of_ratio(pairs: Sequence[tuple[float, float]]) -> Interval:
    """The geometric mean of second / first over pairs of positive numbers, by Student's t on the logarithms.

    With few pairs the bootstrap would give too narrow an interval. One pair alone has an interval without bounds.
    """
    logs = np.log([second / first for first, second in pairs])
    mean = float(np.mean(logs))
    if len(logs) < 2:
        return Interval(float(np.exp(mean)), 0.0, float("inf"))
    width = float(stats.sem(logs) * stats.t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1))
    return Interval(float(np.exp(mean)), float(np.exp(mean - width)), float(np.exp(mean + width)))
