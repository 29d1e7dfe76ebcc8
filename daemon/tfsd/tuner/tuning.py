"""A tuning from beginning to end, over real stacks. Whatever ends it early, what is known by then is in `Findings`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tfsd.errors import StartError
from tfsd.machine import available_cpus
from tfsd.run_dir import RunDir
from tfsd.settings import Settings
from tfsd.tuner import bodies, curve, verdict
from tfsd.tuner.bodies import Bodies
from tfsd.tuner.candidate import Candidate
from tfsd.tuner.curve import Curve
from tfsd.tuner.goal import Goal
from tfsd.tuner.load import GeneratorError, LoadGenerator, Probe, Request
from tfsd.tuner.prediction import Predictor
from tfsd.tuner.progress import Progress
from tfsd.tuner.race import Race
from tfsd.tuner.stacks import ModelServerClient, Stack, environment
from tfsd.tuner.trials import GeneratorWasSlow, Trial
from tfsd.tuner.verdict import Verdict

CURVE_SHARE = 0.1  # of the time
SHORTEST_CURVE = 6.0
SHORTEST_RUN, LONGEST_RUN = 1.0, 5.0
RUNS = 120  # of load that a tuning is expected to consist of
MAY_BE_LATE = 3  # a run is prolonged until its goal allows for so many late requests
LONGEST_FACTOR = 3
GOALS_LONG = (
    8  # a run takes so many times the goal's latency at least: a queue of that length is seen as growing
)
IDLE_CALLS = 20
CALMER = 0.7  # of the default's highest rate: where latencies are compared


class TuningError(StartError):
    """Nothing can be measured; the text says why."""


@dataclasses.dataclass
class Findings:
    """All that is known, filled while the tuning goes on.

    Attributes:
        remarks: what a reader has to know to believe the figures.
        ended: why the tuning ended before it was done; empty when it was.
        distributions: runs of the default and the best at the same rate.
    """

    default: Candidate
    bodies: Bodies | None = None
    goal: Goal | None = None
    idle_seconds: float = 0.0
    curve: Curve | None = None
    trials: list[Trial] = dataclasses.field(default_factory=list)
    best: Trial | None = None
    pairs: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    distributions: tuple[Probe, Probe] | None = None
    remarks: list[str] = dataclasses.field(default_factory=list)
    ended: str = ""
    seconds: float = 0.0
    verdict: Verdict | None = None


class LoadedStack:
    """A stack with a load generator in front: a `Server` of trials."""

    def __init__(
        self, stack: Stack, generator: LoadGenerator, goal: Goal, request: Request, seeds: Iterator[int]
    ) -> None:
        self._stack = stack
        self._generator = generator
        self._goal = goal
        self._request = request
        self._seeds = seeds

    def probe(self, rate: float, seconds: float) -> Probe:
        self._stack.settle(self._request, self._goal.seconds)
        requests = MAY_BE_LATE / (1 - self._goal.quantile)
        seconds = max(
            seconds, GOALS_LONG * self._goal.seconds, min(LONGEST_FACTOR * seconds, requests / rate)
        )
        return self._generator.run(self._stack.port, rate, seconds, next(self._seeds), self._goal)

    def undisturbed(self, goal: Goal, rate: float, seconds: float) -> Probe:
        """A run that another goal stops, if any."""
        return self._generator.run(self._stack.port, rate, seconds, next(self._seeds), goal)


class Tuning:
    """Finds settings for the model below `base_dir` (its `model/`). `environ` is what a default stack starts with.

    Args:
        directory: an empty one, for run directories and logs.
        given: requests of the user's; None: made from the signature.
        goal: None: made from the latency of an idle endpoint.
    """

    def __init__(
        self,
        base_dir: Path,
        directory: Path,
        environ: Mapping[str, str],
        settings: Settings,
        given: Bodies | None,
        goal: Goal | None,
        progress: Progress,
        seconds: float,
    ) -> None:
        self._base_dir = base_dir
        self._directory = directory
        self._environ = environ
        self._settings = settings
        self._progress = progress
        self._seconds = seconds
        self._run_seconds = min(max(seconds / RUNS, SHORTEST_RUN), LONGEST_RUN)
        self._seeds = itertools.count(1)
        self._made: Bodies | None = None
        self._has_code = False
        self._cut_short = False
        self.findings = Findings(Candidate.of(settings), bodies=given, goal=goal)

    def run(self) -> Findings:
        """Do it all; Ctrl-C, and a load generator at its limit, end it with what is known.

        Raises StartError: there is nothing to know, since the default stack does not start or answer.
        """
        began = time.monotonic()
        findings = self.findings
        try:
            self._measure()
        except KeyboardInterrupt:
            findings.ended = "it was interrupted"
        except (GeneratorWasSlow, GeneratorError) as error:
            findings.ended = str(error)
        findings.seconds = time.monotonic() - began
        default = findings.trials[0] if findings.trials else Trial(findings.default)
        best = findings.best or default
        findings.verdict = verdict.judge(default, best, findings.pairs, findings.curve, self._is_whole())
        return findings

    def _is_whole(self) -> bool:
        """Whether all that was worth trying was tried."""
        return not self.findings.ended and not self._cut_short

    def _measure(self) -> None:
        findings = self.findings
        with contextlib.ExitStack() as running:
            self._progress.tell("starting the default settings")
            stack = running.enter_context(self._stack(findings.default, "default"))
            self._progress.begin()
            self._prepare(stack)
            goal, requests = self._goal(), self._requests()
            generator = running.enter_context(LoadGenerator(requests))

            def loaded(stack: Stack) -> LoadedStack:
                return LoadedStack(stack, generator, goal, requests[0], self._seeds)

            @contextlib.contextmanager
            def start(candidate: Candidate) -> Iterator[LoadedStack]:
                with self._stack(candidate, f"trial-{next(numbers)}") as trial:
                    yield loaded(trial)

            numbers = itertools.count(1)
            race = running.enter_context(
                Race(
                    findings.default,
                    goal,
                    Predictor(findings.curve, goal, available_cpus()),
                    start,
                    self._run_seconds,
                    lambda share: self._progress.left() > (1 - share) * self._seconds,
                    self._progress.tell,
                )
            )
            findings.trials = race.trials
            try:
                race.measure_default(loaded(stack))
                race.run(self._has_code)
            finally:
                findings.best = race.best
            findings.remarks += [
                f"Of {one.candidate.label(findings.default)}: {one.limit}."
                for one in race.trials
                if one.limit
            ]
            self._cut_short = race.cut_short
            if race.cut_short:
                findings.remarks.append(
                    "There was no time for all that was worth trying: more of it (--time) may find better settings."
                )
            if race.best is not race.default:
                best = race.best_server
                assert isinstance(best, LoadedStack)
                self._compare(race, loaded(stack), best, goal)

    def _compare(self, race: Race, default: LoadedStack, best: LoadedStack, goal: Goal) -> None:
        """Pairs, then both at one rate for the picture of their latencies."""
        findings = self.findings

        def pair(number: int) -> tuple[float, float]:
            self._progress.tell(f"default against best, pair {number + 1}")
            return verdict.pair((race.default, default), (race.best, best), goal, self._run_seconds, number)

        if race.default.rate:
            verdict.pairs(pair, lambda: self._progress.left() > 0, findings.pairs)
        rate = CALMER * (race.default.rate or race.best.rate or 1.0)
        self._progress.tell("latencies of both at the same rate")
        seconds = 2 * self._run_seconds
        relaxed = Goal(
            goal.quantile, 20 * goal.seconds
        )  # nothing is stopped: the whole distribution is wanted
        findings.distributions = (
            default.undisturbed(relaxed, rate, seconds),
            best.undisturbed(relaxed, rate, seconds),
        )

    def _stack(self, candidate: Candidate, name: str) -> Stack:
        environ = environment(self._environ, candidate.changes(self.findings.default))
        return Stack(
            self._base_dir, RunDir(self._directory / name), environ, patience=self._settings.load_timeout
        )

    def _prepare(self, stack: Stack) -> None:
        """Requests, goal and cost curve."""
        findings = self.findings
        self._has_code = any(pool.script for pool in stack.plan().pools.values())
        with contextlib.suppress(bodies.BodiesError):
            client = ModelServerClient(stack, lambda size: b"")
            self._made = bodies.from_signature(client.metadata())
        if findings.bodies is None:
            if self._made is None:
                raise TuningError(
                    "the model has no signature serving_default; give requests with --requests FILE"
                )
            findings.bodies = self._made
        findings.remarks += findings.bodies.assumptions
        self._progress.tell("a first request")
        findings.idle_seconds = _idle(stack, findings.bodies)
        if findings.goal is None:
            findings.goal = Goal.from_idle(findings.idle_seconds)
            findings.remarks.append(
                f"No goal was given: {findings.goal} is ten times the latency of an idle endpoint, and 20 ms at least."
            )
        self._progress.tell("the cost of calls by their batch size")
        self._measure_curve(stack)

    def _measure_curve(self, stack: Stack) -> None:
        """Of the first kind of calls that the model takes."""
        findings = self.findings
        refusal = "neither the requests nor the signature make a call"
        for request, remark in bodies.bodies_of_calls(self._requests(), self._made):
            client = ModelServerClient(stack, functools.cache(functools.partial(bodies.together, request)))
            seconds = max(CURVE_SHARE * self._seconds, SHORTEST_CURVE)
            try:
                measured = curve.measure(
                    client.call, client.empty_call, client.cpu_seconds, seconds, self._goal().seconds
                )
            except ValueError as error:
                refusal = str(error)
                continue
            findings.curve = dataclasses.replace(measured, parallelism=client.parallelism(measured))
            findings.remarks += [remark] if remark else []
            return
        findings.remarks.append(f"The cost curve could not be measured: {refusal}.")

    def _goal(self) -> Goal:
        assert self.findings.goal is not None
        return self.findings.goal

    def _requests(self) -> tuple[Request, ...]:
        assert self.findings.bodies is not None
        return self.findings.bodies.requests


def _idle(stack: Stack, sent: Bodies) -> float:
    """The median latency in seconds of requests one after the other. Raises TuningError: one is not answered by 200."""
    times = []
    for number in range(IDLE_CALLS):
        request = sent.requests[number % len(sent.requests)]
        began = time.monotonic()
        response = stack.invoke(request)
        times.append(time.monotonic() - began)
        if response.status_code != 200:
            text = " ".join(response.text.split())[:200]
            raise TuningError(
                f"{sent.source} is answered by status {response.status_code}: {text}; "
                "give requests that the model takes with --requests FILE"
            )
        if sum(times) > 20 and len(times) > 2:
            break
    return statistics.median(times[len(times) // 2 :])
