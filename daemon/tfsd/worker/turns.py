"""In which order requests that have been read go on to user code: in that in which nginx passed them on.

User code may compute for long, and what arrives meanwhile is found by the event loop all at once, the last first (libev
invokes what is pending from its end). Served so, every other request of a busy client waits twice its share. And while
there are requests to go on with, gevent looks at no socket for 50 of them: a connection whose next request has come
already would be served again and again, and the others wait. So sockets are looked at between any two requests that a
millisecond lies between.
"""

from __future__ import annotations

import time
from heapq import heappop, heappush
from itertools import count
from typing import Any

import gevent

UNSEEN_SECONDS = 0.001  # for so long sockets need not be looked at; it takes 2 us


class Turns:
    """The requests of one event loop that wait to go on: that of the thread which made this."""

    def __init__(self) -> None:
        self._hub = gevent.get_hub()
        self._waiting: list[list[Any]] = []
        self._numbers = count(
            0, -1
        )  # of two that came within a millisecond, the one that was found last was first
        self._under_way = False  # whether `_go_on` will be called
        self._timer: Any = None

    def wait(self, since: float) -> None:
        """Let everything that is ready go first, then the requests that nginx passed on before this one, which it did
        at the Unix time `since`. It ends in whatever is raised meanwhile, as at the request's time limit.
        """
        if not self._under_way:
            loop = self._hub.loop
            if not (loop.pendingcnt or loop._callbacks) and _looked_just_now(loop):
                return  # nothing else is ready
            self._under_way = True
            self._plan(loop)
        place = [since, next(self._numbers), gevent.getcurrent()]
        heappush(self._waiting, place)
        try:
            self._hub.switch()
        except BaseException:
            place[2] = None
            raise

    def _plan(self, loop: Any) -> None:
        """Have `_go_on` called after all that is ready, and after a look at the sockets unless that was just now."""
        if _looked_just_now(loop):
            loop.run_callback(self._go_on, loop)
            return
        if self._timer is None:
            self._timer = loop.timer(0)
        self._timer.start(self._have_looked, loop)

    def _have_looked(self, loop: Any) -> None:
        loop.run_callback(self._go_on, loop)  # after those who read what has been found

    def _go_on(self, loop: Any) -> None:
        """Those that wait go on, the first first, for as long as sockets need not be looked at."""
        try:
            while self._waiting:
                greenlet = heappop(self._waiting)[2]
                if greenlet is not None:
                    greenlet.switch()
                    if not _looked_just_now(loop):
                        return
        finally:
            self._under_way = bool(self._waiting)
            if self._under_way:
                self._plan(loop)


def _looked_just_now(loop: Any) -> bool:
    """Whether the event loop, whose clock stands still from one look at its sockets to the next, has just looked."""
    return time.time() - loop.now() < UNSEEN_SECONDS
