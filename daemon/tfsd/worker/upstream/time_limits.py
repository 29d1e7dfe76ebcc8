"""Time limits of what many greenlets do for a moment each, at next to no cost.

A gevent.Timeout makes, starts, stops and closes a timer of the event loop, which is a sixth of what a small gRPC call
costs. Here one timer serves them all: it is left alone when a limit ends in time, as nearly all do, and looks for those
that have passed when it fires.
"""

from __future__ import annotations

import math
import time
from typing import Any

import gevent

_SOONEST_SECONDS = 0.0001


class Expired(BaseException):
    """Raised in a greenlet whose limit has passed. As gevent.Timeout it is no Exception, which somebody might catch."""

    def __init__(self, limit: Limit) -> None:
        super().__init__()
        self.limit = limit


class Limit:
    """When (`at`, on the clock of time.monotonic()) which greenlet is to be interrupted."""

    __slots__ = ("at", "greenlet")  # and no initializer, which is a call more for each

    at: float
    greenlet: Any


class TimeLimits:
    """The limits of one event loop: that of the thread which made this."""

    def __init__(self) -> None:
        self._loop = gevent.get_hub().loop
        self._limits: dict[Limit, None] = {}
        self._timer: Any = None
        self._next = math.inf  # when the timer fires

    def begin(self, seconds: float) -> Limit:
        """Raise Expired in this greenlet in so many seconds, unless `end` is called before."""
        limit = Limit()
        limit.at = at = time.monotonic() + seconds
        limit.greenlet = gevent.getcurrent()
        self._limits[limit] = None
        if at < self._next:
            self._wake(at)
        return limit

    def end(self, limit: Limit) -> None:
        """No more of it; one that has passed is no mistake."""
        self._limits.pop(limit, None)

    def _wake(self, at: float) -> None:
        if self._timer is not None:
            self._timer.close()
        self._next = at
        # that keeps no event loop alive: whoever has a limit waits for something that does
        self._timer = self._loop.timer(max(_SOONEST_SECONDS, at - time.monotonic()), ref=False)
        self._timer.start(self._look, update=True)

    def _look(self) -> None:
        now = time.monotonic()
        self._next = math.inf
        for limit in [limit for limit in self._limits if limit.at <= now]:
            if limit in self._limits:  # nobody that went before has ended it
                del self._limits[limit]
                limit.greenlet.throw(Expired(limit))
        if self._limits:
            at = min(limit.at for limit in self._limits)
            if at < self._next:
                self._wake(at)
