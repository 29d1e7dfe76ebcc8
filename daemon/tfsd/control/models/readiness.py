"""Waiting for the workers of a model that is being loaded.

Owns the question to their socket. How long to wait is the caller's affair.
"""

from __future__ import annotations

import http.client
from pathlib import Path

import gevent

from tfsd.control.connections import UnixConnection, fetch
from tfsd.control.ends import End
from tfsd.control.models.programs import Programs
from tfsd.plan import Pool

ANSWER_SECONDS = 0.5
PAUSE_SECONDS = 0.05


class PoolDied(Exception):
    """A worker ended before it served; the text says so."""

    def __init__(self, end: End) -> None:
        super().__init__(f"its worker, at its start, {end.described()}.")
        self.end = end


def wait_for_pool(pool: Pool, programs: Programs) -> None:
    """Return when each socket of the pool has a worker that answers on it. Raises PoolDied."""
    waiting = list(dict.fromkeys(worker.socket for worker in pool.workers))
    while waiting:
        try:
            fetch(UnixConnection(Path(waiting[0]), ANSWER_SECONDS), "/ready")
            waiting.pop(0)
            continue
        except (OSError, http.client.HTTPException):  # nobody has taken the connection from the backlog yet
            gevent.sleep(PAUSE_SECONDS)
        for worker in pool.workers:
            end = programs.end_of(worker.program)
            if end is not None:
                raise PoolDied(end)
