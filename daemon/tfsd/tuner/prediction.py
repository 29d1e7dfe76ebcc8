"""Which settings are worth a measurement: predicted from the cost curve and the goal, best first. Measures nothing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

from tfsd.tuner.candidate import Batching, Candidate
from tfsd.tuner.curve import Curve
from tfsd.tuner.goal import Goal
from tfsd.tuner.simulation import Costs, mean_latency, predicted_rate

SIZES = (2, 4, 8, 16, 32, 64, 128)
WAITS = (0.0, 0.05, 0.2)  # timeouts, as shares of the goal's time
FASTEST_INTAKE = 0.0002  # seconds: nginx and the model server's parsing cost that much of every request
BEST_KEPT = 4  # candidates of batching that are measured before neighbours of the best
SIMILAR = 0.02  # predictions that differ by less are alike
SIMILAR_LATENCY = 0.1  # and so are latencies
COMMON_LOAD = 0.9  # of the rate that candidates have in common: where their latencies are compared
AS_PREDICTED = 0.9  # a measured rate that is lower has shown what requests cost beside their calls


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
        self._intake = max(curve.intake, FASTEST_INTAKE) if curve else FASTEST_INTAKE

    def rate(self, candidate: Candidate) -> float | None:
        """Expected of the candidate. Model servers side by side are expected to be as good as one."""
        costs = self._costs(self._intake)
        return predicted_rate(costs, candidate.batching, self._goal) if costs else None

    def learn(self, candidate: Candidate, rate: float) -> bool:
        """Take from a measured rate what a request costs beside the model's calls, if that is more than was expected:
        a rate far below the predicted one is the limit of all that has to pass requests on. Whether it was.
        """
        if self._curve is None or rate >= AS_PREDICTED * (self.rate(candidate) or 0.0):
            return False
        low, high = self._intake, 2 / rate
        while high > 1.02 * low:
            middle = math.sqrt(low * high)
            costs = self._costs(middle)
            if costs and predicted_rate(costs, candidate.batching, self._goal) > rate:
                low = middle
            else:
                high = middle
        self._intake = high
        return True

    def _costs(self, intake: float) -> Costs | None:
        curve = self._curve
        return Costs(curve.seconds, curve.overhead, intake, curve.parallelism) if curve else None

    def batching(self, base: Candidate) -> list[Prediction]:
        """The best candidates with batching, one for each way to form batches (threads, and whether they wait); none
        if the curve says that batching cannot help.

        Of what is predicted to serve alike, what has fewer requests under way comes first.
        """
        if self._curve is not None and not self._curve.batching_may_help():
            return []
        ways: dict[tuple[int, bool], list[Prediction]] = {}
        for size in SIZES:
            if self._curve is not None and self._curve.seconds(size) > self._goal.seconds:
                break
            for way, batching in self._parameters(size):
                ways.setdefault(way, []).append(self._of(base, batching))
        best = [self._sorted(predictions)[0] for predictions in ways.values()]
        return self._sorted(list(dict.fromkeys(best)))[:BEST_KEPT]

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

    def _parameters(self, size: int) -> Iterator[tuple[tuple[int, bool], Batching]]:
        """Ways to form batches of `size`: (threads, whether they wait).

        With a thread more than calls proceed side by side, one batch is collected while another runs; where it waits
        for as long as a call takes, it is not closed before its turn.
        """
        parallel = 1 if self._curve is None else max(1, round(self._curve.parallelism))
        call = WAITS[1] if self._curve is None else self._curve.seconds(size) / self._goal.seconds
        ways = {(parallel, False), (parallel + 1, False), (parallel + 1, True), (self._cpus, False)}
        for threads, waits in sorted(ways):
            wait = min(call, WAITS[-1]) if waits else 0.0
            yield (threads, waits), Batching(size, self._micros(wait), threads, 100)

    def _micros(self, share: float) -> int:
        """A timeout, to two digits."""
        micros = share * self._goal.seconds * 1e6
        digits = 1 - math.floor(math.log10(micros)) if micros >= 1 else 0
        return round(round(micros, digits))

    def _sorted(self, predictions: list[Prediction]) -> list[Prediction]:
        """Best first."""
        top = max((one.rate or 0.0 for one in predictions), default=0.0)
        costs = self._costs(self._intake)
        if not costs or not top:
            return predictions

        def order(one: Prediction) -> tuple[int, int, int, int]:
            batching = one.candidate.batching
            assert batching is not None
            steps = _steps(one.rate or 0.0, top, SIMILAR)
            latency = mean_latency(costs, batching, COMMON_LOAD * top) if not steps else self._goal.seconds
            return (
                steps,
                -_steps(latency, self._goal.seconds, SIMILAR_LATENCY),
                batching.max_batch_size,
                batching.threads,
            )

        return sorted(predictions, key=order)

    def _of(self, base: Candidate, batching: Batching) -> Prediction:
        """With queues for what the goal's time may hold, and at least so much that a burst is not refused."""
        rate = self.rate(base.with_batching(batching))
        waiting = 2 * (rate or 0.0) * self._goal.seconds / batching.max_batch_size
        enqueued = max(4 * batching.threads, math.ceil(waiting), 16)
        return Prediction(base.with_batching(dataclasses.replace(batching, enqueued=enqueued)), rate)


def _steps(value: float, top: float, similar: float) -> int:
    """How many steps of `similar` a value is below the top: those that are alike compare as equal."""
    return round(math.log(top / value) / similar) if value else 1_000_000
