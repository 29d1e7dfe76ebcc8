"""Servers on paper for the tuner's tests: probes that cost no time, of models with known costs."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np

from tfsd.tuner.candidate import Candidate
from tfsd.tuner.curve import Curve, measure
from tfsd.tuner.load import Probe
from tfsd.tuner.simulation import Costs, arrivals, latencies

DEFAULT = Candidate(batching=None, instances=1, workers=2)


@functools.cache
def linear(a: float, b: float) -> Callable[[int], float]:
    """What a call of so many requests costs. Of the same costs it is the same function, whose curve is known."""
    return lambda size: a + b * size


@functools.cache
def curve(seconds: Callable[[int], float]) -> Curve:
    """What the tuner measures of a model with these costs."""
    now = [0.0]

    def call(size: int) -> None:
        now[0] += seconds(size)

    return measure(call, lambda: None, lambda: now[0], seconds=30, longest=10, clock=lambda: now[0])


class SimulatedServer:
    """A model server of cost a + b * n with a candidate's settings; each run has arrivals of its own."""

    def __init__(self, costs: Costs, candidate: Candidate) -> None:
        self._costs = costs
        self._candidate = candidate
        self.probes = 0

    def probe(self, rate: float, seconds: float) -> Probe:
        self.probes += 1
        count = max(200, round(rate * seconds))
        found = latencies(arrivals(rate, count, seed=self.probes), self._costs, self._candidate.batching)
        return Probe(rate, count, count, np.sort(found), seconds, {"200": count}, 0.1, 0.0, False)


class Machine:
    """Starts simulated servers, and keeps what was started. What a request costs beside its call, `intake`, no curve
    shows."""

    def __init__(self, a: float, b: float, parallelism: float = 1.0, intake: float = 0.0) -> None:
        self.costs = Costs(linear(a, b), 0.0, intake, parallelism)
        self.started: list[Candidate] = []

    @contextlib.contextmanager
    def start(self, candidate: Candidate) -> Iterator[SimulatedServer]:
        self.started.append(candidate)
        yield SimulatedServer(self.costs, candidate)

    def curve(self) -> Curve:
        measured = curve(self.costs.seconds)
        return dataclasses.replace(measured, intake=0.0, parallelism=self.costs.parallelism)
