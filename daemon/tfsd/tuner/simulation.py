"""A model server on paper: what a cost curve and batching parameters make of Poisson arrivals.

Predicts which settings are worth measuring. Batches form as TensorFlow Serving forms them: a batch runs when a thread
is free and it is full, or its first request has waited for the timeout.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import heapq
import math
from collections.abc import Callable

import numpy as np

from tfsd.tuner.bisection import highest_rate
from tfsd.tuner.candidate import Batching
from tfsd.tuner.goal import Goal

REQUESTS, MOST_REQUESTS = 1500, 6000
GOALS_LONG = (
    6  # what is simulated lasts for so many times the goal, or the limit of a fast server would not show
)
CALLS_AT_ONCE = 16  # of a server that does not batch: how many threads it would run them in


@dataclasses.dataclass(frozen=True)
class Costs:
    """What a simulated server needs to know.

    Attributes:
        seconds: of one call of the model with so many requests in it, and no other call beside it.
        overhead: seconds that a request takes beside the model's call.
        intake: seconds that taking in a request takes, one at a time.
        parallelism: calls that really proceed side by side, 1.0 or more.
    """

    seconds: Callable[[int], float]
    overhead: float
    intake: float
    parallelism: float


def arrivals(rate: float, count: int, seed: int = 0) -> np.ndarray:
    """Moments of Poisson arrivals at `rate` a second, in seconds."""
    moments: np.ndarray = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count))
    return moments


def latencies(moments: np.ndarray, costs: Costs, batching: Batching | None) -> np.ndarray:
    """The latency in seconds of each arrival, in their order.

    A free thread takes a batch and closes it, even where its call has to wait for those that proceed already.
    """
    threads = batching.threads if batching else CALLS_AT_ONCE
    calls = max(1, min(threads, math.ceil(costs.parallelism)))
    slower = max(1.0, calls / costs.parallelism)
    largest = batching.max_batch_size if batching else 1
    timeout = batching.timeout_micros / 1e6 if batching else 0.0
    free, done_calls = [0.0] * threads, [0.0] * calls
    times = _taken_in(moments, costs.intake).tolist()

    @functools.cache
    def call_seconds(requests: int) -> float:
        return costs.seconds(batching.padded(requests) if batching else 1) * slower

    batches, sizes = [], []
    first, count = 0, len(times)
    while first < count:
        # no `min` and `max` here: calling them takes most of the time
        last = first + largest
        begin = times[first] + timeout
        if last > count:
            last = count
        elif times[last - 1] < begin:
            begin = times[last - 1]  # full
        if free[0] > begin:
            begin = free[0]
        end = bisect.bisect_right(times, begin, first + 1, last)
        done = (done_calls[0] if done_calls[0] > begin else begin) + call_seconds(end - first)
        heapq.heapreplace(done_calls, done)
        heapq.heapreplace(free, done)
        batches.append(done)
        sizes.append(end - first)
        first = end
    result: np.ndarray = np.repeat(batches, sizes) - moments + costs.overhead
    return result


def _taken_in(moments: np.ndarray, seconds: float) -> np.ndarray:
    """When each arrival has passed a server that takes `seconds` for each, one after the other."""
    numbers = np.arange(len(moments))
    taken: np.ndarray = np.maximum.accumulate(moments - numbers * seconds) + (numbers + 1) * seconds
    return taken


def predicted_rate(costs: Costs, batching: Batching | None, goal: Goal) -> float:
    """The highest rate at which the simulated server keeps the goal; 0 if it never does."""

    def keeps(rate: float) -> bool:
        requests = min(max(REQUESTS, round(GOALS_LONG * goal.seconds * rate)), MOST_REQUESTS)
        late = np.count_nonzero(latencies(arrivals(rate, requests), costs, batching) > goal.seconds)
        return bool(late <= goal.allowed(requests))

    size = batching.max_batch_size if batching else 1
    guess = costs.parallelism * size / max(costs.seconds(size), 1e-6)
    return highest_rate(keeps, min(guess, 1 / max(costs.intake, 1e-6)), tolerance=0.02).rate


def mean_latency(costs: Costs, batching: Batching | None, rate: float, requests: int = REQUESTS) -> float:
    """In seconds, at `rate` requests a second. Times the rate it is how many requests are under way."""
    return float(np.mean(latencies(arrivals(rate, requests), costs, batching)))
