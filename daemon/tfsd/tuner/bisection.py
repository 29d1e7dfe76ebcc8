"""The highest rate that keeps a goal, by trying few of them. Knows nothing of what is tried."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

LOWEST_RATE = 0.2  # requests a second: what does not keep the goal there never keeps it
HIGHEST_RATE = 100_000.0


@dataclasses.dataclass(frozen=True)
class Capacity:
    """The goal is kept at `rate` requests a second (0: at none that was tried) and broken at `broken` (infinite: at
    none that was tried)."""

    rate: float
    broken: float


def highest_rate(
    keeps: Callable[[float], bool],
    guess: float,
    *,
    step: float = 1.5,
    tolerance: float = 0.05,
    lowest: float = LOWEST_RATE,
    more: Callable[[], bool] = lambda: True,
) -> Capacity:
    """Bracket from `guess` in ratios of `step`, then halve the bracket until it is as narrow as 1 + `tolerance`.

    `keeps` says whether a rate keeps the goal; `more` whether there is time for another one: without it the bracket
    stays as wide as it is. The first rate is always tried.
    """
    kept, broken = 0.0, math.inf
    rate = min(max(guess, lowest), HIGHEST_RATE)
    stride = step
    while True:
        if keeps(rate):
            kept = rate
        else:
            broken = rate
        if broken <= lowest or kept >= HIGHEST_RATE or (kept and broken <= kept * (1 + tolerance)):
            break
        if not more():
            break
        if kept and math.isfinite(broken):
            rate = math.sqrt(kept * broken)
        elif kept:
            rate, stride = min(kept * stride, HIGHEST_RATE), stride * step
        else:
            rate, stride = max(broken / stride, lowest), stride * step
    return Capacity(kept, broken)
