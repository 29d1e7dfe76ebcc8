"""Predictions against what can be said without simulating."""

from __future__ import annotations

import numpy as np
import pytest

from tfsd.tuner.candidate import Batching
from tfsd.tuner.goal import Goal
from tfsd.tuner.simulation import Costs, arrivals, latencies, predicted_rate


def costs(a: float, b: float, parallelism: float = 1.0) -> Costs:
    return Costs(lambda size: a + b * size, 0.0, 0.0, parallelism)


def test_arrivals_are_as_many_as_asked_and_as_irregular() -> None:
    gaps = np.diff(arrivals(50, 20_000))
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.03)
    assert gaps.std() == pytest.approx(1 / 50, rel=0.03)


def test_one_server_waits_as_queueing_theory_says() -> None:
    """M/D/1 at a load of 0.5: the mean wait is half of a service time."""
    found = latencies(arrivals(5, 60_000), costs(0.1, 0), None)
    assert found.mean() == pytest.approx(0.15, rel=0.03)
    assert found.min() == pytest.approx(0.1)


def test_a_lone_request_waits_for_the_timeout() -> None:
    batching = Batching(8, 5000, 1, 100)
    assert latencies(np.array([1.0]), costs(0.01, 0), batching) == pytest.approx([0.015])


def test_a_full_batch_waits_for_nobody() -> None:
    batching = Batching(2, 1_000_000, 1, 100)
    found = latencies(np.array([1.0, 1.004, 1.005, 1.006]), costs(0.01, 0), batching)
    assert found == pytest.approx([0.014, 0.01, 0.019, 0.018])


def test_a_thread_that_is_free_closes_a_batch_that_then_waits_for_the_device() -> None:
    moments = np.array([0.0, 0.001, 0.015])
    one = latencies(moments, costs(0.02, 0), Batching(8, 0, 1, 100))
    assert one == pytest.approx([0.02, 0.039, 0.025])
    two = latencies(moments, costs(0.02, 0), Batching(8, 0, 2, 100))
    assert two == pytest.approx([0.02, 0.039, 0.045])
    assert latencies(moments, costs(0.02, 0, 2.0), Batching(8, 0, 2, 100)) == pytest.approx(
        [0.02, 0.02, 0.025]
    )


def test_padding_costs_what_the_larger_batch_costs() -> None:
    found = latencies(np.array([1.0, 1.0, 1.0]), costs(0, 0.01), Batching(4, 0, 1, 100, (1, 4)))
    assert found == pytest.approx([0.04, 0.04, 0.04])


def test_predicted_rates_follow_the_costs() -> None:
    goal = Goal(0.99, 0.2)
    flat, linear = costs(0.02, 0.0), costs(0.0, 0.02)
    off_flat = predicted_rate(flat, None, goal)
    assert 25 < off_flat < 50
    assert predicted_rate(flat, Batching(8, 0, 1, 100), goal) > 4 * off_flat
    off_linear = predicted_rate(linear, None, goal)
    assert predicted_rate(linear, Batching(8, 0, 1, 100), goal) < 1.1 * off_linear
    assert predicted_rate(costs(0.02, 0.0, parallelism=2), None, goal) > 1.5 * off_flat


def test_a_goal_that_a_single_call_breaks_is_never_kept() -> None:
    assert predicted_rate(costs(0.5, 0), None, Goal(0.99, 0.1)) == 0
