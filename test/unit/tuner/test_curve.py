"""The cost curve of servers of known cost, on a clock of the test's own."""

from __future__ import annotations

import random

import pytest

from tfsd.tuner.curve import Curve, measure


class Server:
    """Takes a + b * n seconds for n requests, and half a millisecond for each call, with some noise."""

    def __init__(self, a: float, b: float, largest: int = 1000, noise: float = 0.02) -> None:
        self.now = 0.0
        self.busy = 0.0
        self._a, self._b, self._largest, self._noise = a, b, largest, noise
        self._chance = random.Random(3)

    def clock(self) -> float:
        return self.now

    def empty_call(self) -> None:
        self.now += 0.0005

    def call(self, size: int) -> None:
        if size > self._largest:
            raise ValueError("too many")
        took = (self._a + self._b * size) * self._chance.lognormvariate(0, self._noise)
        self.busy += took
        self.now += 0.0005 + took

    def measured(self, seconds: float = 20.0, longest: float = 1.0) -> Curve:
        return measure(
            self.call, self.empty_call, lambda: self.busy, seconds, longest=longest, clock=self.clock
        )


@pytest.mark.parametrize(("a", "b"), [(0.01, 0.001), (0.0, 0.005), (0.02, 0.0), (0.002, 0.002)])
def test_fit_finds_the_costs(a: float, b: float) -> None:
    curve = Server(a, b).measured()
    found_a, found_b = curve.fit()
    assert found_a == pytest.approx(a, rel=0.1, abs=0.0003)
    assert found_b == pytest.approx(b, rel=0.1, abs=0.0003)
    assert curve.overhead == pytest.approx(0.0005)
    for size in (1, 5, 8, 300):
        assert curve.seconds(size) == pytest.approx(a + b * size, rel=0.1)
    assert curve.points[0].cpu_seconds == pytest.approx(a + b, rel=0.1)


def test_batching_cannot_help_where_requests_cost_as_much_together() -> None:
    curve = Server(0.0, 0.005).measured()
    assert not curve.batching_may_help()
    assert "cannot help" in curve.verdict()


def test_batching_may_help_where_a_call_has_a_cost_of_its_own() -> None:
    curve = Server(0.02, 0.001).measured()
    assert curve.batching_may_help()
    assert curve.largest_speedup().size > 16
    assert "may help" in curve.verdict()


def test_where_only_single_calls_could_be_measured_trials_have_to_show() -> None:
    curve = Server(0.01, 0.001, largest=1).measured()
    assert [point.size for point in curve.points] == [1]
    assert curve.batching_may_help()
    assert "judged by trials alone" in curve.verdict()


def test_sizes_that_would_break_the_goal_alone_are_left_out() -> None:
    assert Server(0.0, 0.01).measured(longest=0.1).points[-1].size == 8


def test_sizes_that_the_model_refuses_are_left_out() -> None:
    assert Server(0.01, 0.001, largest=4).measured().points[-1].size == 4
    with pytest.raises(ValueError, match="too many"):
        Server(0.01, 0.001, largest=0).measured()


def test_slow_models_are_measured_with_few_sizes() -> None:
    server = Server(0.5, 0.5)
    curve = server.measured(seconds=20, longest=100)
    assert len(curve.points) >= 2
    assert server.now < 60


def test_uneven_curves_are_noticed() -> None:
    class Padded(Server):
        def call(self, size: int) -> None:
            super().call(size)
            if size & (size - 1):
                self.now += 0.02

    assert Padded(0.01, 0.001).measured().uneven()
    assert not Server(0.01, 0.001).measured().uneven()
