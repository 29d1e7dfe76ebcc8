"""The mean number in flight, by Little's law."""

from __future__ import annotations

import itertools

import pytest

from tfsd.control.metrics.direct_in_flight import KEPT, DirectInFlight
from tfsd.control.metrics.request_counts import RequestCounts


def test_the_mean_of_the_last_seconds() -> None:
    counts, seconds = RequestCounts(), itertools.count(0.0)
    direct = DirectInFlight(counts, lambda: next(seconds))
    direct.look()
    assert direct.by_model() == {}

    for _ in range(2):
        counts.add([b"1\tdirect\tm\t200\t0.5"] * 8 + [b"1\tworker\tm\t200\t9.0"], ["m"])
        direct.look()

    assert direct.by_model() == {"m": pytest.approx(4.0)}  # 16 requests of half a second in two seconds


def test_it_falls_to_nothing_when_nothing_comes() -> None:
    counts, seconds = RequestCounts(), itertools.count(0.0)
    direct = DirectInFlight(counts, lambda: next(seconds))
    counts.add([b"1\tdirect\tm\t200\t0.5"], ["m"])
    for _ in range(KEPT):
        direct.look()
    assert direct.by_model() == {"m": 0.0}
