"""What the settings are worth: the best against the default in interleaved pairs, and a verdict in words."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

from tfsd.tuner import intervals, trials
from tfsd.tuner.curve import Curve
from tfsd.tuner.goal import Goal
from tfsd.tuner.intervals import Interval
from tfsd.tuner.trials import Server, Trial

FEWEST_PAIRS = 5
MOST_PAIRS = 40
WORTH = 1.03  # a gain below it is none that one would change settings for
STEP, TOLERANCE = 1.12, 0.06  # so that a search that begins right is over after three runs
FAR = 2.0  # where one serves so many times as much as the other, coarser searches of two runs tell as well
COARSE_STEP, COARSE_TOLERANCE = 1.2, 0.21
MOST_RUNS = 5  # of a search, on a machine that hiccups
JITTER = 0.05

CLOSE = 1.15  # an interval that ends below it is narrow enough to say that there is nothing to gain
BETTER, AS_GOOD, OPEN, UNKNOWN = "better", "default", "open", "unknown"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """`kind` is BETTER, AS_GOOD, OPEN (the pairs differ too much to tell) or UNKNOWN; `batching` whether it should be
    on, None when nobody knows.

    `ratio` is what the best serves under the goal over what the default does; None without pairs.
    """

    kind: str
    batching: bool | None
    ratio: Interval | None
    sentences: tuple[str, ...]


def pair(
    default: tuple[Trial, Server],
    best: tuple[Trial, Server],
    goal: Goal,
    seconds: float,
    number: int,
) -> tuple[float, float]:
    """The highest rates of both, one right after the other; every other pair begins with the best.

    Each search starts near the rate that is known, so that few runs are enough. Raises GeneratorWasSlow.
    """
    jitter = 1 + JITTER * (2 * random.Random(number).random() - 1)
    far = (best[0].rate or 1.0) >= FAR * (default[0].rate or 1.0)
    step, tolerance = (COARSE_STEP, COARSE_TOLERANCE) if far else (STEP, TOLERANCE)
    rates = {}
    for name, (trial, server) in sorted({"default": default, "best": best}.items(), reverse=bool(number % 2)):
        known = trial.rate or 1.0
        once = Trial(trial.candidate)
        found = trials.measure(
            once,
            server,
            goal,
            known * jitter,
            seconds,
            step=step,
            tolerance=tolerance,
            lowest=known / 3,
            again=False,
            most=MOST_RUNS,
        )
        trial.probes += once.probes
        trial.rate = rates[name] = found.rate or known / 3
    return rates["default"], rates["best"]


def pairs(
    measure_pair: Callable[[int], tuple[float, float]],
    more: Callable[[], bool],
    found: list[tuple[float, float]],
) -> None:
    """Add pairs to `found`: FEWEST_PAIRS in any case, then as long as they leave open which is better and `more()`."""
    while len(found) < FEWEST_PAIRS or (len(found) < MOST_PAIRS and more() and is_open(found)):
        found.append(measure_pair(len(found)))


def is_open(found: list[tuple[float, float]]) -> bool:
    """Whether more pairs may tell more: the interval of the ratio shows neither a gain nor that there is none."""
    ratio = intervals.of_ratio(found)
    return not _shows_gain(ratio) and ratio.high >= WORTH


def _shows_gain(ratio: Interval) -> bool:
    return ratio.low > 1 and ratio.value >= WORTH


def judge(
    default: Trial, best: Trial, found: list[tuple[float, float]], curve: Curve | None, finished: bool
) -> Verdict:
    """The verdict on what was measured; `finished` is false when the race or the pairs were cut short."""
    ratio = intervals.of_ratio(found) if found else None
    kind, sentence = _compare(default, best, found, ratio, finished)
    chosen = default if kind == AS_GOOD else best
    batching, about = _about_batching(chosen, default, best, curve, kind, finished)
    return Verdict(kind, batching, ratio, (sentence, *about))


def _compare(
    default: Trial, best: Trial, found: list[tuple[float, float]], ratio: Interval | None, finished: bool
) -> tuple[str, str]:
    """The kind of the verdict, and the sentence that says so."""
    rate = f"{best.rate or 0:.4g} requests a second"
    if default.rate is None:
        return UNKNOWN, "Nothing was measured under load."
    if best is default and not default.rate:
        return UNKNOWN, "Neither the default nor anything that was tried keeps the goal."
    if best is default and finished:
        return AS_GOOD, "The default is as good as anything that was tried."
    if best is default:
        return UNKNOWN, "Nothing that was tried so far is better than the default."
    if not default.rate:
        return BETTER, f"The default keeps the goal at no rate; these settings keep it at {rate}."
    if ratio is None or len(found) < FEWEST_PAIRS:
        return UNKNOWN, (
            f"These settings look better than the default ({rate} instead of {default.rate:.4g}), "
            f"but only {len(found)} of {FEWEST_PAIRS} pairs were measured."
        )
    interval = f"{ratio.low:.2f} to {ratio.high:.2f}"
    other = f"the best of the others ({best.candidate.label(default.candidate)})"
    if _shows_gain(ratio):
        return BETTER, (
            f"These settings serve {ratio.value:.2f} times as many requests as the default under the goal "
            f"(95 % confidence interval {interval}, {len(found)} pairs)."
        )
    if ratio.high > CLOSE:
        return OPEN, (
            f"It is open which settings are better: {other} serves {ratio.value:.2f} times as many requests "
            f"({interval}, {len(found)} pairs). A quieter machine or more time (--time) may tell."
        )
    return AS_GOOD, (
        f"The default is as good: {other} serves {ratio.value:.2f} times as many requests "
        f"({interval}, {len(found)} pairs)."
    )


def _about_batching(
    chosen: Trial, default: Trial, best: Trial, curve: Curve | None, kind: str, finished: bool
) -> tuple[bool | None, list[str]]:
    """Whether batching should be on, and a sentence on it."""
    if curve is not None and not curve.batching_may_help():
        return False, [f"Leave batching off. {curve.verdict()}"]
    if kind in (OPEN, UNKNOWN):
        return None, [curve.verdict()] if curve else []
    if chosen.candidate.batching is not None:
        return True, ["Batching is on."]
    if not finished and best.candidate.batching is None:
        return None, []
    return False, ["Leave batching off: no parameters of it serve more under this goal."]
