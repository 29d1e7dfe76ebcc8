"""The race and the verdict over simulated servers, whose best settings are known."""

from __future__ import annotations

import contextlib
import dataclasses
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


def raced(machine: Machine, more: int = 1000, seconds: float = SECONDS) -> Race:
    """A race with time for so many runs of so many seconds."""
    left = [more]

    def is_time(share: float) -> bool:
        left[0] -= 1
        return left[0] > 0

    race = Race(
        DEFAULT,
        GOAL,
        Predictor(machine.curve(), GOAL, CPUS),
        machine.start,
        seconds,
        is_time,
        lambda text: None,
    )
    with race, machine.start(DEFAULT) as server:
        race.measure_default(server)
        race.run(has_code=False)
    return race


def _broken(probe: Probe) -> Probe:
    return dataclasses.replace(probe, latencies=np.full(probe.due, np.inf), stopped=True)


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
    race = raced(Machine(a=0.02, b=0.0), seconds=2)
    first = race.trials[1]
    assert first.predicted is not None
    assert 0.8 * first.predicted < first.probes[0].rate < first.predicted


def test_a_promise_that_fails_is_tried_where_it_would_beat_the_best() -> None:
    class Broken(Machine):
        @contextlib.contextmanager
        def start(self, candidate: Candidate) -> Iterator[SimulatedServer]:
            with super().start(candidate if candidate.batching is None else DEFAULT) as server:
                yield server

    race = raced(Broken(a=0.02, b=0.0), seconds=2)
    first = next(trial for trial in race.trials if trial.candidate.batching)
    assert race.best.candidate.batching is None
    assert "stopped" in first.ended
    assert len({probe.rate for probe in first.probes}) <= 8


def test_a_promise_that_the_generator_cannot_send_is_tried_where_it_would_beat_the_best() -> None:
    class Starved(Machine):
        @contextlib.contextmanager
        def start(self, candidate: Candidate) -> Iterator[SimulatedServer]:
            class Server(SimulatedServer):
                def probe(self, rate: float, seconds: float) -> Probe:
                    probe = super().probe(rate, seconds)
                    return probe if rate < 300 else dataclasses.replace(_broken(probe), cpu_share=0.97)

            with super().start(candidate):
                yield Server(self.costs, candidate)

    race = raced(Starved(a=0.02, b=0.0), seconds=2)
    assert race.trials[1].predicted is not None
    assert race.trials[1].predicted > 1000
    assert race.best.candidate.batching is not None
    assert race.best.rate is not None
    assert 200 < race.best.rate < 300


def test_a_run_in_which_the_machine_hiccups_does_not_decide() -> None:
    class Server(SimulatedServer):
        def probe(self, rate: float, seconds: float) -> Probe:
            probe = super().probe(rate, seconds)
            return _broken(probe) if self.probes == 1 else probe

    machine = Machine(0.016, 0.002)
    candidate = DEFAULT.with_batching(Batching(32, 0, 1, 100))
    capacity = predicted_rate(machine.costs, candidate.batching, GOAL)

    def found(again: bool) -> float:
        server = Server(machine.costs, candidate)
        guess = 0.85 * capacity
        return trials.measure(Trial(candidate), server, GOAL, guess, 5, step=1.15, again=again).rate

    assert found(again=True) > 0.85 * capacity
    assert found(again=False) < 0.85 * capacity


def test_the_best_may_show_that_it_serves_as_much_as_what_would_take_its_place() -> None:
    class Recovering(Machine):
        """The first stack with batching hiccups until another is tried."""

        @contextlib.contextmanager
        def start(self, candidate: Candidate) -> Iterator[SimulatedServer]:
            machine, number = self, len(self.started)

            class Server(SimulatedServer):
                def probe(self, rate: float, seconds: float) -> Probe:
                    probe = super().probe(rate, seconds)
                    hiccups = number == 1 and len(machine.started) == 2 and rate > 250
                    return _broken(probe) if hiccups else probe

            with super().start(candidate):
                yield Server(self.costs, candidate)

    machine = Recovering(0.0165, 0.002, 1.0, 0.0007)
    race = raced(machine)
    first = race.trials[1]
    assert race.best.candidate.batching == first.candidate.batching
    assert "stopped: the best so far serves as much" in {trial.ended for trial in race.trials}


def test_what_the_first_has_taught_is_tried_in_its_own_way_to_form_batches_too() -> None:
    """Batches of 128 that are never full: those of 32 are less under way."""
    race = raced(Machine(0.02, 0.0, 1.0, 0.0007), seconds=2)
    batchings = [one.candidate.batching for one in race.trials if one.candidate.batching]
    assert batchings[0].max_batch_size == 128
    assert 32 in {
        one.max_batch_size
        for one in batchings
        if (one.threads, one.timeout_micros) == (batchings[0].threads, batchings[0].timeout_micros)
    }


def test_where_requests_cost_the_same_batching_is_off_and_never_tried() -> None:
    machine = Machine(a=0.0, b=0.02)
    race = raced(machine)
    assert all(candidate.batching is None for candidate in machine.started)
    found = judged(race, machine)
    assert (found.kind, found.batching) == (verdict.AS_GOOD, False)
    assert "batching cannot help" in " ".join(found.sentences).lower()


def test_losers_are_stopped_with_the_rate_at_which_they_lose() -> None:
    class Slower(Machine):
        @contextlib.contextmanager
        def start(self, candidate: Candidate) -> Iterator[SimulatedServer]:
            with super().start(candidate):
                factor = 1.0 if candidate == DEFAULT else 1.2
                costs = dataclasses.replace(self.costs, seconds=lambda n: factor * self.costs.seconds(n))
                yield SimulatedServer(costs, candidate)

    race = raced(Slower(a=0.0, b=0.02))
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
