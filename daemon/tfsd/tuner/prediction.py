"""Which settings are worth a measurement: predicted from the cost curve and the goal, best first. Measures nothing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

from tfsd.tuner.candidate import Batching, Candidate
from tfsd.tuner.curve import Curve
from tfsd.tuner.goal import Goal
from tfsd.tuner.simulation import Costs, predicted_rate

SIZES = (2, 4, 8, 16, 32, 64, 128)
WAITS = (0.0, 0.05, 0.2)  # timeouts, as shares of the goal's time
FASTEST_INTAKE = 0.0002  # seconds: nginx and the model server's parsing cost that much of every request
BEST_KEPT = 4  # candidates of batching that are measured before neighbours of the best
SIMILAR = 0.02  # predictions that differ by less are alike: the smaller batch or the shorter wait comes first


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A candidate and the rate in requests a second that is expected of it; None where there is no curve."""

    candidate: Candidate
    rate: float | None


class Predictor:
    """Predicts for a model's curve, a goal, and a machine with so many CPUs."""

    def __init__(self, curve: Curve | None, goal: Goal, cpus: int) -> None:
        self._curve = curve
        self._goal = goal
        self._cpus = cpus

    def rate(self, candidate: Candidate) -> float | None:
        """Expected of the candidate. Model servers side by side are expected to be as good as one."""
        if self._curve is None:
            return None
        curve = self._curve
        costs = Costs(curve.seconds, curve.overhead, max(curve.intake, FASTEST_INTAKE), curve.parallelism)
        return predicted_rate(costs, candidate.batching, self._goal)

    def batching(self, base: Candidate) -> list[Prediction]:
        """The best candidates with batching, one for each batch size; none if the curve says that it cannot help."""
        if self._curve is not None and not self._curve.batching_may_help():
            return []
        best: list[Prediction] = []
        for size in SIZES:
            if self._curve is not None and self._curve.seconds(size) > self._goal.seconds:
                break
            best.append(self._best(base, list(self._parameters(size))))
        best.sort(key=lambda one: -(one.rate or 0.0))
        if self._curve is not None and best and best[0].rate:
            top = best[0].rate
            best.sort(key=lambda one: (-_steps(one.rate, top), _size(one)))
        return best[:BEST_KEPT]

    def neighbours(self, base: Candidate) -> Iterator[Prediction]:
        """Other candidates near `base`, which has batching: other waits, threads and sizes, and padding."""
        batching = base.batching
        if batching is None:
            return
        found: list[Batching] = []
        for wait in WAITS:
            found.append(dataclasses.replace(batching, timeout_micros=self._micros(wait)))
        for threads in sorted({1, 2, self._cpus, 2 * self._cpus}):
            found.append(dataclasses.replace(batching, threads=threads))
        for size in (batching.max_batch_size * 2, batching.max_batch_size // 2):
            if size >= 2 and (self._curve is None or self._curve.seconds(size) <= self._goal.seconds):
                found.append(dataclasses.replace(batching, max_batch_size=size, allowed=()))
        if self._curve is not None and self._curve.uneven() and not batching.allowed:
            sizes = [2**power for power in range(batching.max_batch_size.bit_length())]
            if sizes[-1] == batching.max_batch_size:
                found.append(dataclasses.replace(batching, allowed=tuple(sizes)))
        predictions = [self._of(base, one) for one in dict.fromkeys(found) if one != batching]
        predictions.sort(key=lambda one: -(one.rate or 0.0))
        yield from predictions

    def others(self, base: Candidate, has_code: bool) -> Iterator[Prediction]:
        """Candidates that differ from `base` in anything but batching."""
        if base.instances < self._cpus:
            yield Prediction(dataclasses.replace(base, instances=base.instances + 1), None)
        if base.intra_op != 1:
            yield Prediction(dataclasses.replace(base, intra_op=1), None)
        if base.inter_op != self._cpus:
            yield Prediction(dataclasses.replace(base, inter_op=self._cpus), None)
        if has_code:
            for workers in (2 * base.workers, max(1, base.workers // 2)):
                if workers != base.workers:
                    yield Prediction(dataclasses.replace(base, workers=workers), None)

    def _parameters(self, size: int) -> Iterator[Batching]:
        parallel = 1 if self._curve is None else max(1, round(self._curve.parallelism))
        for threads in sorted({parallel, self._cpus}):
            for wait in WAITS:
                yield Batching(size, self._micros(wait), threads, 100)

    def _micros(self, share: float) -> int:
        """A timeout, to two digits."""
        micros = share * self._goal.seconds * 1e6
        digits = 1 - math.floor(math.log10(micros)) if micros >= 1 else 0
        return round(round(micros, digits))

    def _best(self, base: Candidate, parameters: list[Batching]) -> Prediction:
        predictions = [self._of(base, one) for one in parameters]
        top = max(one.rate or 0.0 for one in predictions)
        return next(one for one in predictions if (one.rate or 0.0) >= (1 - SIMILAR) * top)

    def _of(self, base: Candidate, batching: Batching) -> Prediction:
        """With queues for what the goal's time may hold, and at least so much that a burst is not refused."""
        rate = self.rate(dataclasses.replace(base, batching=batching))
        waiting = 2 * (rate or 0.0) * self._goal.seconds / batching.max_batch_size
        enqueued = max(4 * batching.threads, math.ceil(waiting), 16)
        return Prediction(
            dataclasses.replace(base, batching=dataclasses.replace(batching, enqueued=enqueued)), rate
        )


def _steps(rate: float | None, top: float) -> int:
    """Rates in steps of SIMILAR below the top, so that those that are alike compare as equal."""
    return -round(math.log(top / rate) / SIMILAR) if rate else -1_000_000


def _size(prediction: Prediction) -> int:
    return prediction.candidate.batching.max_batch_size if prediction.candidate.batching else 1
