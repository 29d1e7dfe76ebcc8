"""The cost curve: what a call of the model costs for so many requests at once, in time and CPU, with intervals.

If n requests together cost nearly n times one, batching has nothing to save, and no parameters of it are worth trying.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import optimize

from tfsd.tuner import intervals
from tfsd.tuner.intervals import Interval

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
FEWEST_SAMPLES = 8
MOST_SAMPLES = 60
WORTHWHILE = 1.15  # batching that could gain less than this is not worth a candidate
LIKELY = 1.08  # what has to be seen of it: the upper end of a wide interval alone is no promise


@dataclasses.dataclass(frozen=True)
class Point:
    """One size: `seconds` of a call, less the overhead; `speedup` over single calls; CPU of a call in seconds."""

    size: int
    seconds: Interval
    speedup: Interval
    cpu_seconds: float
    samples: int


@dataclasses.dataclass(frozen=True)
class Curve:
    """What was measured.

    Attributes:
        points: by ascending size; the first is of size 1.
        overhead: seconds that a request takes without a call of the model.
        intake: CPU seconds that it takes the model server.
        parallelism: single calls that proceed side by side, as their rate shows: 1.0 for one at a time.
    """

    points: tuple[Point, ...]
    overhead: float
    intake: float = 0.0
    parallelism: float = 1.0

    def seconds(self, size: int) -> float:
        """Of a call with so many requests: between the points a line, beyond them the line of the last two."""
        sizes = [float(point.size) for point in self.points]
        values = [point.seconds.value for point in self.points]
        if size <= sizes[-1] or len(sizes) < 2:
            return float(np.interp(size, sizes, values)) * (max(1.0, size / sizes[-1]))
        slope = max(0.0, (values[-1] - values[-2]) / (sizes[-1] - sizes[-2]))
        return values[-1] + slope * (size - sizes[-1])

    def fit(self) -> tuple[float, float]:
        """a and b of a + b * size, in seconds and not negative, by least squares of relative errors."""
        sizes = np.array([point.size for point in self.points], float)
        values = np.maximum([point.seconds.value for point in self.points], 1e-9)
        design = np.stack([1 / values, sizes / values], axis=1)
        (a, b), _ = optimize.nnls(design, np.ones(len(sizes)))
        return float(a), float(b)

    def largest_speedup(self) -> Point:
        """The point at which requests go fastest together."""
        return max(self.points, key=lambda point: point.speedup.value)

    def batching_may_help(self) -> bool:
        """Whether any size may save as much as is worthwhile, by the estimate and the upper end of its interval; where
        none but single calls could be measured, trials have to show."""
        return len(self.points) < 2 or any(
            point.speedup.value >= LIKELY and point.speedup.high >= WORTHWHILE
            for point in self.points
            if point.size > 1
        )

    def uneven(self) -> bool:
        """Whether a size costs clearly more than the next power of two, so that padding to that saves time."""
        by_size = {point.size: point.seconds for point in self.points}
        odd = [point for point in self.points if point.size & (point.size - 1)]
        return any(
            point.seconds.low > 1.1 * by_size[2 ** point.size.bit_length()].high
            for point in odd
            if 2 ** point.size.bit_length() in by_size
        )

    def verdict(self) -> str:
        """A sentence about batching, before anything else is tried."""
        best = self.largest_speedup()
        if len(self.points) < 2:
            return "Calls with more than one request could not be measured, so batching is judged by trials alone."
        figures = f"{best.size} requests in one call go {best.speedup} times as fast as one by one"
        if not self.batching_may_help():
            return f"Batching cannot help: a call with n requests takes nearly n times as long; at best {figures}."
        return f"Batching may help: {figures}."


def measure(
    call: Callable[[int], None],
    empty_call: Callable[[], None],
    cpu: Callable[[], float],
    seconds: float,
    longest: float,
    sizes: Sequence[int] = SIZES,
    clock: Callable[[], float] = time.monotonic,
) -> Curve:
    """Call the model with each size in turn, again and again, for about so many seconds.

    `call(n)` is one call with n requests, and raises ValueError when the model refuses so many; `empty_call` the same
    way without the model; `cpu` tells the CPU seconds that the model server has used. Sizes whose call takes longer
    than `longest` are left out, since such a batch would break the goal alone. What a call costs right after a start
    does not count. Raises ValueError when not even one request is answered.
    """
    end = clock() + seconds
    usable = _usable(call, sizes, longest, end, clock)
    taken: dict[int, list[float]] = {size: [] for size in usable}
    used: dict[int, float] = dict.fromkeys(usable, 0.0)
    empty: list[float] = []
    rounds, intake = 0, 0.0
    while rounds < FEWEST_SAMPLES or (clock() < end and rounds < MOST_SAMPLES):
        rounds += 1
        before = cpu()
        empty.append(_timed(empty_call, clock))
        intake += cpu() - before
        for size in (1, 1, *usable):  # every speedup is one over single calls
            before = cpu()
            taken[size].append(_timed(lambda n=size: call(n), clock))  # type: ignore[misc]
            used[size] += cpu() - before
        if clock() > end + 2 * seconds and rounds >= 2:
            break  # far slower than its first calls: what there is must do
    return _curve(taken, used, float(intervals.lower_quartile(np.array(empty))), intake / rounds)


def _usable(
    call: Callable[[int], None],
    sizes: Sequence[int],
    longest: float,
    end: float,
    clock: Callable[[], float],
) -> list[int]:
    """The sizes that the model takes, that are fast enough, and that there is time for; each is called twice."""
    usable: list[int] = []
    spent = 0.0
    for size in sizes:
        try:
            call(size)
            took = _timed(lambda n=size: call(n), clock)  # type: ignore[misc]
        except ValueError:
            if size == 1:
                raise
            break
        spent += took
        left = end - clock()
        if usable and (took > longest or (len(usable) > 1 and spent * FEWEST_SAMPLES > left)):
            break
        usable.append(size)
    return usable


def _timed(work: Callable[[], None], clock: Callable[[], float]) -> float:
    began = clock()
    work()
    return clock() - began


def _curve(
    taken: Mapping[int, list[float]], used: Mapping[int, float], overhead: float, intake: float
) -> Curve:
    """Take the overhead off each time; it is never more than nearly all of the fastest call."""
    fastest = min(min(times) for times in taken.values())
    overhead = min(overhead, 0.95 * fastest)
    less = {size: [time_ - overhead for time_ in times] for size, times in taken.items()}
    points = tuple(
        Point(
            size,
            intervals.of_time(times),
            intervals.of_speedup(less[1], times, size) if size > 1 else Interval(1.0, 1.0, 1.0),
            used[size] / len(times),
            len(times),
        )
        for size, times in less.items()
    )
    return Curve(points, overhead, intake)
