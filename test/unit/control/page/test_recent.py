"""The last five minutes: differences of counters, and quantiles as Prometheus interpolates them."""

from __future__ import annotations

import pytest

from tfsd.control.metrics.request_counts import RequestCounts
from tfsd.control.page.recent import STEPS, RecentRequests, Step, quantile, summary


def lines(status: int, seconds: float, number: int, model: str = "m") -> list[bytes]:
    return [f"1\tdirect\t{model}\t{status}\t{seconds}".encode()] * number


def test_a_step_has_what_came_since_the_last_one() -> None:
    counts = RequestCounts()
    counts.add(lines(200, 0.002, 7), ["m"])
    recent = RecentRequests(counts)

    counts.add(lines(200, 0.002, 2) + lines(503, 0.2, 1), ["m"])
    recent.tick()
    recent.tick()

    busy, quiet = recent.steps("m")
    assert (busy.requests, busy.errors) == (3, 1)
    assert busy.total_seconds == pytest.approx(0.204)
    assert quiet == Step()
    assert summary([busy, quiet]) == busy
    assert recent.steps("other") == [Step(), Step()]


def test_only_so_many_steps_are_kept() -> None:
    recent = RecentRequests(RequestCounts())
    for _ in range(STEPS + 5):
        recent.tick()
    assert len(recent.steps("m")) == STEPS


def test_counters_that_begin_anew_are_not_negative() -> None:
    counts = RequestCounts()
    counts.add(lines(200, 0.002, 5), ["m"])
    totals = {"m": (4.0, 16.0, 16.0, 800.0)}
    recent = RecentRequests(counts, lambda: totals)

    counts.forget("m")
    counts.add(lines(200, 0.002, 1), ["m"])
    totals["m"] = (1.0, 3.0, 3.0, 90.0)
    recent.tick()

    (step,) = recent.steps("m")
    assert (step.requests, step.batches, step.rows, step.waited_micros) == (1, 1, 3, 90)


def test_quantiles() -> None:
    counts = RequestCounts()
    recent = RecentRequests(counts)
    counts.add(lines(200, 0.004, 50) + lines(200, 0.009, 50) + lines(200, 0.02, 1), ["m"])
    recent.tick()
    (step,) = recent.steps("m")

    assert quantile(Step(), 0.5) is None
    # 50 in (0.0025, 0.005], 50 in (0.005, 0.01], one in (0.01, 0.025]
    assert quantile(step, 0.25) == pytest.approx(0.0025 + 0.0025 * (0.25 * 101) / 50)
    assert quantile(step, 0.75) == pytest.approx(0.005 + 0.005 * (0.75 * 101 - 50) / 50)
    assert quantile(step, 1.0) == pytest.approx(0.025)


def test_the_quantile_of_what_lies_beyond_all_buckets_is_the_last_bound() -> None:
    counts = RequestCounts()
    recent = RecentRequests(counts)
    counts.add(lines(200, 99.0, 2), ["m"])
    recent.tick()
    assert quantile(recent.steps("m")[0], 0.99) == 60.0
