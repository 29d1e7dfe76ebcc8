"""The race of the candidates: each has to beat the best so far, or ends where it did not.

Runs are short and machines noisy: before a candidate takes the place of the best, the best may show that it serves as
much. Its stack runs on for that, beside the one that is tried.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from tfsd.errors import StartError
from tfsd.tuner import trials
from tfsd.tuner.candidate import Candidate
from tfsd.tuner.goal import Goal
from tfsd.tuner.prediction import Prediction, Predictor
from tfsd.tuner.trials import GeneratorWasSlow, Server, Trial

MARGIN = 1.04  # by which a candidate must serve more than the best so far
CAUTION = 0.85  # of a prediction: where a search begins
STEP = 1.15  # of a search that begins near what is expected
LONGEST_STEP = 1.5  # of one that begins where the best would be beaten
DEFAULT_SHARE, RACE_SHARE = 0.35, 0.6  # of the time have passed when the default, and all, must be known
UNBEATEN_SHARE = 0.85  # as long as nothing beats the default there is nothing to compare in pairs
MOST_NEIGHBOURS = 6

Start = Callable[[Candidate], contextlib.AbstractContextManager[Server]]


class Race:
    """Measures candidates one after the other. `trials` and `best` are true at any moment, for whoever is interrupted.
    `cut_short` says that there was no time for a candidate that was worth it; `best_server` runs until `with` ends.

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
        self._running = contextlib.ExitStack()
        self.best_server: Server | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def measure_default(self, server: Server) -> None:
        """Where the default stands. Raises GeneratorWasSlow."""
        self.default.predicted = self._predictor.rate(self.default.candidate)
        guess = CAUTION * self.default.predicted if self.default.predicted else 10.0
        self.best_server = server
        self._tell("default settings")
        trials.measure(
            self.default,
            server,
            self._goal,
            guess,
            self._seconds,
            step=STEP,
            tolerance=0.05,
            again=False,
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
        """One candidate of each way to form batches; what the first has shown tells which sizes they have, its own way
        among them."""
        predictions = self._predictor.batching(self.default.candidate)
        if not predictions:
            return
        self._try(predictions[0])
        first = self.trials[-1]
        if first.rate and self._predictor.learn(first.candidate, first.rate):
            predictions = self._predictor.batching(self.default.candidate)
        for prediction in predictions:
            if self._was_tried(prediction.candidate):
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
        return any(_but_queues(trial.candidate) == _but_queues(candidate) for trial in self.trials)

    def _try(self, prediction: Prediction) -> None:
        """Measure a candidate; it is stopped with the first rate at which it does not beat the best."""
        if self._was_tried(prediction.candidate):
            return
        to_beat = MARGIN * (self.best.rate or 0.0)
        trial = Trial(prediction.candidate, prediction.rate)
        self.trials.append(trial)
        if prediction.rate is not None and prediction.rate < 0.8 * to_beat:
            trial.ended = "not measured: predicted to be slower than the best"
            return
        self._tell(trial.candidate.label(self.default.candidate))
        with contextlib.ExitStack() as started:
            try:
                server = started.enter_context(self._start(trial.candidate))
                self._measure(trial, server, to_beat)
            except (StartError, GeneratorWasSlow) as error:
                trial.ended = str(error)
                return
            if not trial.rate or trial.rate < to_beat:
                trial.ended = f"stopped: does not keep the goal at {to_beat:.4g} requests a second"
            elif self._best_serves(trial.rate):
                trial.ended = "stopped: the best so far serves as much"
            else:
                self._running.close()
                self._running = started.pop_all()
                self.best, self.best_server = trial, server

    def _best_serves(self, rate: float) -> bool:
        """Whether the best so far keeps the goal at a rate that another has kept it at, when it is asked again."""
        if not self.best.rate or self.best_server is None:
            return False
        try:
            serves = trials.probed(self.best, self.best_server, self._goal, rate, self._seconds)
        except GeneratorWasSlow:
            return False
        if serves:
            self.best.rate = rate
        return serves

    def _measure(self, trial: Trial, server: Server, to_beat: float) -> None:
        """Begin near what is promised; where that fails, or little is promised, where the best would be beaten."""
        hope = CAUTION * (trial.predicted or 0.0)
        if hope > STEP * to_beat:
            # what is promised may be too much for the generator, and less be enough to tell
            with contextlib.suppress(GeneratorWasSlow):
                trials.measure(
                    trial,
                    server,
                    self._goal,
                    hope,
                    self._seconds,
                    step=STEP,
                    lowest=max(hope / STEP**2, to_beat),
                    more=self._is_time,
                )
        if not trial.rate:
            trials.measure(
                trial,
                server,
                self._goal,
                to_beat or 1.0,
                self._seconds,
                step=min(max(hope / to_beat, STEP), LONGEST_STEP) if to_beat else LONGEST_STEP,
                lowest=to_beat or None,
                more=self._is_time,
            )


def _but_queues(candidate: Candidate) -> Candidate:
    """It without the length of its queues, which follows from what is predicted."""
    batching = candidate.batching
    return candidate.with_batching(dataclasses.replace(batching, enqueued=0)) if batching else candidate
