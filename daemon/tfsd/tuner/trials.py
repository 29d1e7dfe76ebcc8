"""One candidate under load: probes, what they say together, and the highest rate that keeps the goal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

from tfsd.tuner.bisection import LOWEST_RATE, Capacity, highest_rate
from tfsd.tuner.candidate import Candidate
from tfsd.tuner.goal import Goal
from tfsd.tuner.load import Probe

MOST_RATES = 12


class GeneratorWasSlow(Exception):
    """The load generator, and not the server, was what kept the goal from being reached, twice in a row."""

    def __init__(self, probe: Probe) -> None:
        super().__init__(
            f"the load generator could not send {probe.rate:.4g} requests a second in time (it used "
            f"{probe.cpu_share:.0%} of a CPU and sent up to {probe.lateness * 1000:.1f} ms late): the machine is too "
            "busy, or the rate too high, to judge the server"
        )
        self.probe = probe


class Server(Protocol):
    """Something that load can be sent to: a stack, or a simulated one."""

    def probe(self, rate: float, seconds: float) -> Probe:
        """Open-loop load at `rate` a second for `seconds`."""
        ...


@dataclasses.dataclass
class Trial:
    """A candidate and what is known of it. `rate` is the highest that kept the goal, 0.0 if none did.

    `predicted` requests a second; `ended` says why it was not measured further, `limit` that it was the load generator
    that could do no more: then `rate` is what is served at least.
    """

    candidate: Candidate
    predicted: float | None = None
    rate: float | None = None
    probes: list[Probe] = dataclasses.field(default_factory=list)
    ended: str = ""
    limit: str = ""

    def p_at_rate(self, goal: Goal) -> float | None:
        """The latency quantile of the run at `rate`, in seconds."""
        kept = [probe for probe in self.probes if probe.keeps(goal)]
        return max(kept, key=lambda probe: probe.rate).quantile(goal.quantile) if kept else None


def probed(
    trial: Trial, server: Server, goal: Goal, rate: float, seconds: float, *, again: bool = True
) -> bool:
    """Whether `server` keeps the goal at `rate`. What breaks it is tried `again`, since a hiccup of the machine does so
    as well, and a search never comes back to a rate; what breaks it by the generator is tried again in any case.

    Raises GeneratorWasSlow.
    """
    for attempt in range(2):
        probe = server.probe(rate, seconds)
        trial.probes.append(probe)
        if probe.keeps(goal):
            return True
        slow = probe.generator_was_slow(goal)
        if slow and attempt:
            raise GeneratorWasSlow(probe)
        if not slow and not again:
            return False
    return False


def measure(
    trial: Trial,
    server: Server,
    goal: Goal,
    guess: float,
    seconds: float,
    *,
    step: float = 1.5,
    tolerance: float = 0.08,
    lowest: float | None = None,
    again: bool = True,
    most: int = MOST_RATES,
    more: Callable[[], bool] = lambda: True,
) -> Capacity:
    """Find the highest rate by runs of `seconds` at no more than `most` rates, and note it in the trial; below `lowest`
    nothing is tried, and what breaks the goal is tried `again`.

    Raises GeneratorWasSlow: not even one rate could be judged.
    """
    left = most
    slow: GeneratorWasSlow | None = None

    def keeps(rate: float) -> bool:
        nonlocal left, slow
        left -= 1
        try:
            return probed(trial, server, goal, rate, seconds, again=again)
        except GeneratorWasSlow as error:
            slow = error
            return False

    found = highest_rate(
        keeps,
        guess,
        step=step,
        tolerance=tolerance,
        lowest=lowest or LOWEST_RATE,
        more=lambda: left > 0 and more(),
    )
    if slow is not None:
        if not found.rate:
            raise slow
        trial.limit = str(slow)
    trial.rate = max(found.rate, trial.rate or 0.0)
    return found
