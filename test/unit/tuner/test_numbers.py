"""Goals, intervals and the search for the highest rate."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.tuner import intervals
from tfsd.tuner.bisection import highest_rate
from tfsd.tuner.goal import Goal


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("p99 <= 50 ms", Goal(0.99, 0.05)),
        ("p99<50ms", Goal(0.99, 0.05)),
        (" P99.9 <= 1.5 s ", Goal(0.999, 1.5)),
        ("p50 <= 800 us", Goal(0.5, 0.0008)),
    ],
)
def test_goals(text: str, goal: Goal) -> None:
    read = Goal.parse(text)
    assert read.quantile == pytest.approx(goal.quantile)
    assert read.seconds == pytest.approx(goal.seconds)
    assert Goal.parse(str(read)).seconds == pytest.approx(goal.seconds)


@pytest.mark.parametrize(
    "text", ["", "p99", "p100 <= 5 ms", "p0 <= 5 ms", "p99 <= 0 ms", "fast", "p99 <= 5 min"]
)
def test_what_is_no_goal(text: str) -> None:
    with pytest.raises(ValueError, match="no goal"):
        Goal.parse(text)


def test_allowed_late_requests() -> None:
    assert [Goal(0.99, 1).allowed(count) for count in (1, 99, 100, 1000)] == [0, 0, 1, 10]


def test_goal_of_an_idle_endpoint_is_ten_times_its_latency_and_round() -> None:
    assert Goal.from_idle(0.01234) == Goal(0.99, 0.12)
    assert Goal.from_idle(0.0001) == Goal(0.99, 0.02)


@given(limit=st.floats(0.5, 5000), guess=st.floats(0.5, 5000))
def test_bisection_encloses_the_limit(limit: float, guess: float) -> None:
    tried: list[float] = []

    def keeps(rate: float) -> bool:
        tried.append(rate)
        return rate <= limit

    found = highest_rate(keeps, guess, tolerance=0.05)
    assert found.rate <= limit < found.broken <= found.rate * 1.05
    assert len(tried) < 20


def test_bisection_ends_when_nothing_keeps_the_goal() -> None:
    found = highest_rate(lambda rate: False, 100)
    assert found.rate == 0


def test_bisection_without_time_says_what_it_knows() -> None:
    found = highest_rate(lambda rate: rate <= 90, 60, more=lambda: False)
    assert (found.rate, found.broken) == (60, math.inf)


def test_time_and_its_interval() -> None:
    chance = random.Random(1)
    samples = [chance.gauss(10, 1) for _ in range(200)]
    found = intervals.of_time(samples)
    assert found.low < found.value < found.high
    assert found.low == pytest.approx(9.33, abs=0.4)  # the lower quartile of that distribution
    assert found.high == pytest.approx(9.33, abs=0.4)
    assert intervals.of_time([3.0]) == intervals.Interval(3, 3, 3)


def test_interval_of_a_ratio_holds_the_true_one_as_often_as_it_says() -> None:
    chance = random.Random(2)
    held = 0
    for _ in range(400):
        pairs = [(chance.lognormvariate(0, 0.1), 1.3 * chance.lognormvariate(0, 0.1)) for _ in range(5)]
        found = intervals.of_ratio(pairs)
        held += found.low <= 1.3 <= found.high
    assert 0.91 <= held / 400 <= 0.985  # 95 % of them, give or take what 400 draws may


def test_ratio_of_one_pair_is_known_to_be_unknown() -> None:
    found = intervals.of_ratio([(1.0, 2.0)])
    assert found.value == pytest.approx(2.0)
    assert (found.low, found.high) == (0.0, math.inf)


def test_speedup() -> None:
    found = intervals.of_speedup([1.0, 1.1, 0.9], [2.0, 2.2, 1.8], 8)
    assert found.value == pytest.approx(4.0)
    assert found.low < 4.0 < found.high
