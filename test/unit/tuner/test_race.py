"""The race and the verdict over simulated servers, whose best settings are known."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest

from tfsd.errors import StartError
from tfsd.tuner import trials, verdict
from tfsd.tuner.candidate import Batching, Candidate
from tfsd.tuner.goal import Goal
from tfsd.tuner.load import Probe
from tfsd.tuner.prediction import Predictor
from tfsd.tuner.race import Race
from tfsd.tuner.simulation import predicted_rate
from tfsd.tuner.trials import GeneratorWasSlow, Trial
from unit.tuner.simulated import DEFAULT, Machine, SimulatedServer

GOAL = Goal(0.99, 0.2)
CPUS = 2
SECONDS = 30.0


def raced(machine: Machine, more: int = 1000) -> Race:
    """A race with time for so many runs."""
    left = [more]

    def is_time(share: float) -> bool:
        left[0] -= 1
        return left[0] > 0

    race = Race(
        DEFAULT,
        GOAL,
        Predictor(machine.curve(), GOAL, CPUS),
        machine.start,
        SECONDS,
        is_time,
        lambda text: None,
    )
    with machine.start(DEFAULT) as server:
        race.measure_default(server)
    race.run(has_code=False)
    return race


def judged(race: Race, machine: Machine) -> verdict.Verdict:
    found: list[tuple[float, float]] = []
    if race.best is not race.default:
        with machine.start(race.default.candidate) as default, machine.start(race.best.candidate) as best:
            verdict.pairs(
                lambda number: verdict.pair(
                    (race.default, default), (race.best, best), GOAL, SECONDS, number
                ),
                lambda: True,
                found,
            )
    return verdict.judge(race.default, race.best, found, machine.curve(), True)


@pytest.mark.parametrize(
    ("a", "b", "parallelism", "intake"),
    [
        (0.02, 0.0005, 1.0, 0.0),
        (0.02, 0.0, 1.0, 0.0007),
        (0.016, 0.002, 1.0, 0.0),
        (0.02, 0.001, 2.0, 0.0005),
    ],
)
def test_where_calls_cost_the_same_batching_is_on_and_near_the_best_of_a_grid(
    a: float, b: float, parallelism: float, intake: float
) -> None:
    machine = Machine(a, b, parallelism, intake)
    race = raced(machine)
    batching = race.best.candidate.batching
    assert batching is not None
    grid = [
        predicted_rate(machine.costs, Batching(size, micros, threads, 100), GOAL)
        for size in (2, 4, 8, 16, 32, 64, 128)
        if a + b * size <= GOAL.seconds
        for micros in (0, 2000, 10_000, 50_000)
        for threads in (1, 2)
    ]
    assert predicted_rate(machine.costs, batching, GOAL) >= 0.95 * max(grid)
    assert len(machine.started) < 20
    found = judged(race, machine)
    assert (found.kind, found.batching) == (verdict.BETTER, True)
    assert found.ratio is not None
    assert found.ratio.low > 2


def test_a_candidate_that_promises_far_more_than_the_best_is_not_tried_at_the_bests_rate_first() -> None:
    race = raced(Machine(a=0.02, b=0.0))
    default, first, *_ = race.trials
    assert default.rate
    assert first.probes[0].rate > 3 * default.rate
    assert first.predicted is not None
    assert max(probe.rate for probe in first.probes) < 2 * first.predicted


def test_a_promise_that_fails_is_tried_where_it_would_beat_the_best() -> None:
    class Broken(Machine):
        @contextlib.contextmanager
        def start(self, candidate: Candidate) -> Iterator[SimulatedServer]:
            with super().start(candidate if candidate.batching is None else DEFAULT) as server:
                yield server

    race = raced(Broken(a=0.02, b=0.0))
    first = next(trial for trial in race.trials if trial.candidate.batching)
    assert race.best.candidate.batching is None
    assert "stopped" in first.ended
    assert len(first.probes) <= 4


def test_where_requests_cost_the_same_batching_is_off_and_never_tried() -> None:
    machine = Machine(a=0.0, b=0.02)
    race = raced(machine)
    assert all(candidate.batching is None for candidate in machine.started)
    found = judged(race, machine)
    assert (found.kind, found.batching) == (verdict.AS_GOOD, False)
    assert "batching cannot help" in " ".join(found.sentences).lower()


def test_losers_are_stopped_with_the_run_that_they_lose() -> None:
    race = raced(Machine(a=0.0, b=0.02))
    losers = [trial for trial in race.trials if trial.ended]
    assert losers
    assert all("stopped" in trial.ended for trial in losers)
    assert all(len(trial.probes) <= 2 for trial in losers)


def test_a_race_without_time_knows_the_default_and_the_best_prediction() -> None:
    race = raced(Machine(a=0.02, b=0.0), more=1)
    assert len(race.trials) == 2
    assert race.default.rate
    assert race.cut_short


def test_a_candidate_that_does_not_start_loses() -> None:
    class Fragile(Machine):
        @contextlib.contextmanager
        def start(self, candidate: Candidate) -> Iterator[SimulatedServer]:
            if candidate.instances > 1:
                raise StartError("too little memory")
            with super().start(candidate) as server:
                yield server

    race = raced(Fragile(a=0.0, b=0.02))
    ended = {trial.ended for trial in race.trials if trial.candidate.instances > 1}
    assert ended == {"too little memory"}


def test_noise_alone_is_no_gain() -> None:
    found = [(100.0, 104.0), (103.0, 99.0), (98.0, 103.0), (101.0, 100.0), (99.0, 100.0)]
    default, best = Trial(DEFAULT, rate=100), Trial(Candidate(None, 2, 2), rate=106)
    judged = verdict.judge(default, best, found, None, True)
    assert judged.kind == verdict.AS_GOOD


def test_pairs_that_differ_widely_leave_it_open() -> None:
    found = [(100.0, 250.0), (100.0, 60.0), (100.0, 180.0), (100.0, 90.0), (100.0, 170.0)]
    default, best = Trial(DEFAULT, rate=100), Trial(Candidate(None, 2, 2), rate=150)
    judged = verdict.judge(default, best, found, None, True)
    assert (judged.kind, judged.batching) == (verdict.OPEN, None)


def test_too_few_pairs_are_no_verdict() -> None:
    default, best = Trial(DEFAULT, rate=100), Trial(Candidate(None, 2, 2), rate=150)
    judged = verdict.judge(default, best, [(100, 150)] * 4, None, False)
    assert judged.kind == verdict.UNKNOWN
    assert "4 of 5" in judged.sentences[0]


def test_pairs_go_on_while_they_leave_it_open() -> None:
    found: list[tuple[float, float]] = []
    verdict.pairs(lambda number: (100.0, 90.0 if number % 2 else 115.0), lambda: True, found)
    assert len(found) == verdict.MOST_PAIRS
    found = []
    verdict.pairs(lambda number: (100.0, 90.0 if number % 2 else 115.0), lambda: len(found) < 12, found)
    assert len(found) == 12
    for second in (200.0, 90.0):  # a gain, and none
        found = []
        verdict.pairs(lambda number: (100.0, second + number), lambda: True, found)  # noqa: B023
        assert len(found) == verdict.FEWEST_PAIRS


def test_pairs_of_settings_that_are_far_apart_take_fewer_runs() -> None:
    def runs(rate: float) -> int:
        servers = [SimulatedServer(Machine(0.02, 0.001).costs, DEFAULT) for _ in range(2)]
        verdict.pair(
            (Trial(DEFAULT, rate=30), servers[0]), (Trial(DEFAULT, rate=rate), servers[1]), GOAL, SECONDS, 0
        )
        return servers[0].probes

    assert runs(100) < runs(33)


def test_pairs_are_interleaved() -> None:
    order: list[str] = []

    class Named(SimulatedServer):
        def __init__(self, name: str) -> None:
            super().__init__(Machine(0.02, 0).costs, DEFAULT)
            self._name = name

        def probe(self, rate: float, seconds: float) -> Probe:
            if not order or order[-1] != self._name:
                order.append(self._name)
            return super().probe(rate, seconds)

    default, best = (Trial(DEFAULT, rate=30), Named("default")), (Trial(DEFAULT, rate=30), Named("best"))
    for number in range(3):
        verdict.pair(default, best, GOAL, SECONDS, number)
    assert order in (["best", "default", "best", "default"], ["default", "best", "default", "best"])


def test_a_slow_generator_ends_the_race() -> None:
    class Starved:
        def probe(self, rate: float, seconds: float) -> Probe:
            return Probe(rate, 100, 100, np.full(100, 9.0), seconds, {"200": 100}, 0.97, 3.0, True)

    with pytest.raises(GeneratorWasSlow, match="97% of a CPU"):
        trials.measure(Trial(DEFAULT), Starved(), GOAL, 50, 1)
