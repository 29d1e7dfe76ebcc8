"""The race of the candidates: each has to beat the best so far, or ends with the run in which it did not."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

from tfsd.errors import StartError
from tfsd.tuner import trials
from tfsd.tuner.candidate import Candidate
from tfsd.tuner.goal import Goal
from tfsd.tuner.prediction import Prediction, Predictor
from tfsd.tuner.trials import GeneratorWasSlow, Server, Trial

MARGIN = 1.04  # by which a candidate must serve more than the best so far
CAUTION = 0.75  # of a prediction: where a candidate is tried that has beaten the best
SMALLEST_STEP = 1.3
LEAP = 4.0  # but no farther from the best so far
ABOVE_DOUBT = 8.0  # where so many times the best is hoped for, a candidate begins between both
DEFAULT_SHARE, RACE_SHARE = 0.35, 0.6  # of the time have passed when the default, and all, must be known
UNBEATEN_SHARE = 0.85  # as long as nothing beats the default there is nothing to compare in pairs
MOST_NEIGHBOURS = 6

Start = Callable[[Candidate], contextlib.AbstractContextManager[Server]]


class Race:
    """Measures candidates one after the other. `trials` and `best` are true at any moment, for whoever is interrupted.
    `cut_short` says that there was no time for a candidate that was worth it.

    Args:
        start: gives a server that has a candidate's settings.
        more: whether less than a share of the whole time has passed.
        tell: is called with a few words about what is tried.
    """

    def __init__(
        self,
        default: Candidate,
        goal: Goal,
        predictor: Predictor,
        start: Start,
        seconds: float,
        more: Callable[[float], bool],
        tell: Callable[[str], None],
    ) -> None:
        self.default = Trial(default)
        self.best = self.default
        self.trials = [self.default]
        self.cut_short = False
        self._goal = goal
        self._predictor = predictor
        self._start = start
        self._seconds = seconds
        self._more = more
        self._tell = tell

    def measure_default(self, server: Server) -> None:
        """Where the default stands. Raises GeneratorWasSlow."""
        self.default.predicted = self._predictor.rate(self.default.candidate)
        guess = CAUTION * self.default.predicted if self.default.predicted else 10.0
        self._tell("default settings")
        trials.measure(
            self.default,
            server,
            self._goal,
            guess,
            self._seconds,
            step=SMALLEST_STEP,
            tolerance=0.05,
            more=lambda: self._more(DEFAULT_SHARE),
        )
        if not self.default.rate:
            self.default.ended = "keeps the goal at no rate"

    def run(self, has_code: bool) -> None:
        """Batching as predicted, all else, then the neighbours of what won.

        The best prediction is measured in any case, the others while there is time.
        """
        self._try_batching()
        self._climb(lambda: self._predictor.others(self.best.candidate, has_code))
        self._climb(lambda: self._predictor.neighbours(self.best.candidate))

    def _try_batching(self) -> None:
        """One candidate of each way to form batches; what the first has shown tells which sizes the others have."""
        predictions = self._predictor.batching(self.default.candidate)
        if not predictions:
            return
        self._try(predictions[0])
        first = self.trials[-1]
        if first.rate and self._predictor.learn(first.candidate, first.rate):
            predictions = self._predictor.batching(self.default.candidate)
        for prediction in predictions:
            if _way(prediction.candidate) == _way(first.candidate):
                continue
            if not self._is_time():
                self.cut_short = True
                return
            self._try(prediction)

    def _climb(self, candidates: Callable[[], Iterator[Prediction]]) -> None:
        """Try what is near the best, and begin again near what beats it."""
        for _ in range(MOST_NEIGHBOURS):
            new = next((one for one in candidates() if not self._was_tried(one.candidate)), None)
            if new is None or not self._is_time():
                return
            self._try(new)

    def _is_time(self) -> bool:
        return self._more(UNBEATEN_SHARE if self.best is self.default else RACE_SHARE)

    def _was_tried(self, candidate: Candidate) -> bool:
        return any(trial.candidate.variables() == candidate.variables() for trial in self.trials)

    def _try(self, prediction: Prediction) -> None:
        """Measure a candidate; it is stopped with the first run that does not beat the best."""
        if self._was_tried(prediction.candidate):
            return
        to_beat = MARGIN * (self.best.rate or 0.0)
        trial = Trial(prediction.candidate, prediction.rate)
        self.trials.append(trial)
        if prediction.rate is not None and prediction.rate < 0.8 * to_beat:
            trial.ended = "not measured: predicted to be slower than the best"
            return
        label = trial.candidate.label(self.default.candidate)
        self._tell(label)
        try:
            with self._start(trial.candidate) as server:
                self._measure(trial, server, to_beat)
        except (StartError, GeneratorWasSlow) as error:
            trial.ended = str(error)
            return
        if trial.rate and trial.rate > (self.best.rate or 0.0):
            self.best = trial
        elif not trial.ended:
            trial.ended = f"stopped: does not keep the goal at {to_beat:.4g} requests a second"

    def _measure(self, trial: Trial, server: Server, to_beat: float) -> None:
        hope = CAUTION * (trial.predicted or 0.0)
        lowest = to_beat
        guess = to_beat or min(hope or 1.0, LEAP * (self.default.predicted or 1.0))
        step = min(max(hope / to_beat, SMALLEST_STEP), LEAP) if to_beat else SMALLEST_STEP
        if to_beat and hope > ABOVE_DOUBT * to_beat:
            between = math.sqrt(hope * to_beat)
            once = trials.measure(
                trial, server, self._goal, between, self._seconds, lowest=between, more=lambda: False
            )
            if once.rate:
                lowest, guess, step = once.rate, hope, SMALLEST_STEP
        trials.measure(
            trial,
            server,
            self._goal,
            guess,
            self._seconds,
            step=step,
            lowest=lowest or None,
            more=self._is_time,
        )


def _way(candidate: Candidate) -> tuple[int, bool] | None:
    """How it forms batches of whatever size: threads, and whether they wait."""
    batching = candidate.batching
    return (batching.threads, batching.timeout_micros > 0) if batching else None
