"""Confidence intervals of what was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

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


def of_median(samples: Sequence[float]) -> Interval:
    """The median of at least one sample, by the percentile bootstrap; a single sample has no width."""
    values = np.asarray(samples, float)
    median = float(np.median(values))
    if len(values) < 2 or np.ptp(values) == 0:
        return Interval(median, median, median)
    found = stats.bootstrap(
        (values,),
        np.median,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(median, float(found.low), float(found.high))


def of_speedup(one: Sequence[float], many: Sequence[float], size: int) -> Interval:
    """How much faster `size` rows go together than apart: size * median(one) / median(many), bootstrapped."""

    def ratio(single: np.ndarray, batch: np.ndarray, axis: int = -1) -> np.ndarray:
        result: np.ndarray = size * np.median(single, axis=axis) / np.median(batch, axis=axis)
        return result

    first, second = np.asarray(one, float), np.asarray(many, float)
    value = float(ratio(first, second))
    if min(len(first), len(second)) < 2 or np.ptp(first) == np.ptp(second) == 0:
        return Interval(value, value, value)
    found = stats.bootstrap(
        (first, second),
        ratio,
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
