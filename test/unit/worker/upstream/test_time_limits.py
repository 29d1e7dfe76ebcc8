"""Limits that share a timer: who is interrupted, and who is not."""

from __future__ import annotations

import time

import gevent
import pytest
from gevent.event import Event

from tfsd.worker.upstream.time_limits import Expired, TimeLimits

LONG = 300.0


def waits(limits: TimeLimits, seconds: float, event: Event) -> float | None:
    """How long it took until the limit passed, None if the event came first."""
    began = time.monotonic()
    limit = limits.begin(seconds)
    try:
        event.wait()
    except Expired as expired:
        if expired.limit is not limit:
            raise
        return time.monotonic() - began
    finally:
        limits.end(limit)
    return None


def test_each_has_its_own_limit() -> None:
    """Whichever was begun first, the timer set for a longer one, or for one that has ended."""
    limits, never = TimeLimits(), Event()
    seconds = [LONG, 0.2, 0.05, 0.1, 0.0, LONG]
    greenlets = [gevent.spawn(waits, limits, each, never) for each in seconds]
    gevent.joinall(greenlets[1:5])
    took = [greenlet.value for greenlet in greenlets]
    assert all(after >= each for after, each in zip(took[1:5], seconds[1:5], strict=True))
    assert [greenlet.dead for greenlet in greenlets] == [False, True, True, True, True, False]
    never.set()
    gevent.joinall(greenlets)
    assert [greenlets[0].value, greenlets[5].value] == [None, None]


def test_one_that_has_ended_interrupts_nobody() -> None:
    limits, come = TimeLimits(), Event()
    come.set()
    assert waits(limits, 0.01, come) is None
    assert waits(limits, 0.05, Event()) is not None  # by when the first one would have passed


def test_one_that_another_ends_as_both_pass_interrupts_nobody() -> None:
    """The greenlet that is interrupted first ends the limit of the second."""
    limits, never = TimeLimits(), Event()
    mine = limits.begin(LONG)
    others = []

    def other() -> None:
        others.append(limits.begin(LONG))
        never.wait()

    second = gevent.spawn(other)
    gevent.idle()
    mine.at = others[0].at = 0.0
    gevent.get_hub().loop.run_callback(limits._look)
    with pytest.raises(Expired) as raised:
        never.wait()
    assert raised.value.limit is mine
    limits.end(others[0])
    never.set()
    second.join()
    assert second.successful()


def test_a_limit_within_a_limit() -> None:
    limits, never = TimeLimits(), Event()
    outer = limits.begin(0.05)
    with pytest.raises(Expired) as raised:
        waits(limits, LONG, never)
    assert raised.value.limit is outer
    assert waits(limits, 0.01, never) is not None
