"""In which order requests that have been read go on to user code: in that in which nginx passed them on.

User code may compute for long, and what arrives meanwhile is found by the event loop all at once, the last first (libev
invokes what is pending from its end). Served so, every other request of a busy client waits twice its share.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from heapq import heappop, heappush
from itertools import count
from typing import Any

import gevent

PASSED_ON = "HTTP_X_TFSD_PASSED_ON"  # Unix time, set by nginx


class Turns:
    """The requests of one event loop that wait to go on."""

    def __init__(self) -> None:
        self._waiting: list[list[Any]] = []
        self._numbers = count(
            0, -1
        )  # of two that came within a millisecond, the one that was found last was first

    def wait(self, environ: Mapping[str, Any]) -> None:
        """Let everything that is ready go first, then the requests that nginx passed on before this one.

        A request without that header came just now. It ends in whatever is raised meanwhile, such as gevent.Timeout.
        """
        try:
            since = float(environ[PASSED_ON])
        except (KeyError, ValueError):
            since = time.time()
        hub = gevent.get_hub()
        place = [since, next(self._numbers), gevent.getcurrent()]
        heappush(self._waiting, place)
        hub.loop.run_callback(self._go_on)
        try:
            hub.switch()
        except BaseException:
            place[2] = None
            raise

    def _go_on(self) -> None:
        """Called once for each that waits, of which the first goes on."""
        while self._waiting:
            greenlet = heappop(self._waiting)[2]
            if greenlet is not None:
                greenlet.switch()
                return
