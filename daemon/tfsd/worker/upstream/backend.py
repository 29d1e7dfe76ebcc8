"""One model server process as a worker sees it: its kept connections, its load, and whether it failed just now.

Knows no protocol: a connection is whatever `connect` makes. Owns the connections; never sends anything again by itself
but what a kept connection's end left untouched.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import gevent

from tfsd.incoming import Remainder
from tfsd.worker.upstream.connection import CutOff, Refused

CONNECT_SECONDS = 5.0
IDLE_CONNECTIONS = 128  # kept for each model server
AVOID_SECONDS = 1.0  # after a failure, as long as another instance works

log = logging.getLogger(__name__)
Piece = bytes | memoryview | Remainder
Body = bytes | Sequence[Piece]
"""Bytes, or their pieces where a connection takes them."""
AnswerT = TypeVar("AnswerT")
AddressT = TypeVar("AddressT", int, int | str)
AnswerT_co = TypeVar("AnswerT_co", covariant=True)


class Exchanging(Protocol[AnswerT_co]):
    """A connection that serves one exchange at a time; `reusable` says whether it may serve another."""

    reusable: bool

    def exchange(self, head: bytes, body: Any) -> AnswerT_co:
        """Send a request and wait for its whole answer. Raises CutOff."""

    def close(self) -> None:
        """Close it, in whatever state it is."""


class Backend(Generic[AnswerT]):
    """One model server process, on a port or a unix socket of this machine, and the idle connections to it.

    Args:
        program: its name, for the log.
        address: a port, or a socket's path.
        connect: makes a connection to an address within so many seconds; raises Refused.
    """

    def __init__(
        self, program: str, address: AddressT, connect: Callable[[AddressT, float], Exchanging[AnswerT]]
    ) -> None:
        self.program = program
        self._place = f"port {address}" if isinstance(address, int) else address
        self.outstanding = 0
        self.failed_at: float | None = None
        self._connect = functools.partial(connect, address)
        # A socket belongs to the event loop of its thread; user code may have threads of gevent's pool.
        self._idle: dict[Any, list[Exchanging[AnswerT]]] = {}

    def exchange(self, head: bytes, body: Body) -> AnswerT:
        """Send on a kept connection if there is one, on a new one if that turns out closed.

        Raises Refused, CutOff.
        """
        hub = gevent.get_hub()
        idle = self._idle.get(hub)
        if idle is None:
            idle = self._idle[hub] = []
        connection: Exchanging[AnswerT] | None = None
        self.outstanding += 1
        try:
            if idle:
                connection = idle.pop()
                try:
                    answer = connection.exchange(head, body)
                except CutOff as error:
                    _close_all(idle)  # they are of the same process
                    if not error.untouched:
                        raise
                    connection.close()
                    connection = None
            if connection is None:
                connection = self._connect(CONNECT_SECONDS)
                answer = connection.exchange(head, body)
        except BaseException as error:
            if connection is not None:  # a time limit, too, leaves it in the middle of an answer
                connection.close()
            if isinstance(error, (Refused, CutOff)):
                self._failed(error)
            raise
        finally:
            self.outstanding -= 1
        if connection.reusable and len(idle) < IDLE_CONNECTIONS:
            idle.append(connection)
        else:
            connection.close()
        if self.failed_at is not None:
            log.info("%s on %s answers again.", self.program, self._place)
            self.failed_at = None
        return answer

    def _failed(self, error: Refused | CutOff) -> None:
        if self.failed_at is None:
            log.warning("%s on %s does not answer: %s.", self.program, self._place, error)
        self.failed_at = time.monotonic()

    def close_idle(self) -> None:
        _close_all(self._idle.get(gevent.get_hub(), []))


def _close_all(idle: list[Any]) -> None:
    while idle:
        idle.pop().close()


class Backends(Generic[AnswerT]):
    """The instances of one model's server, and whose turn it is."""

    def __init__(self, backends: Sequence[Backend[AnswerT]]) -> None:
        self._backends = tuple(backends)
        self._turn = 0

    def pick(self, tried: Sequence[Backend[AnswerT]]) -> Backend[AnswerT] | None:
        """The one with the least outstanding requests, in turn; one that failed just now comes last.

        None when all have been tried.
        """
        backends = self._backends
        if len(backends) == 1:
            return None if tried else backends[0]
        self._turn = turn = (self._turn + 1) % (len(backends) or 1)
        recent = time.monotonic() - AVOID_SECONDS
        candidates = [backend for backend in backends[turn:] + backends[:turn] if backend not in tried]
        return min(
            candidates,
            key=lambda backend: ((backend.failed_at or 0.0) > recent, backend.outstanding),
            default=None,
        )

    def __iter__(self) -> Any:
        return iter(self._backends)

    def __str__(self) -> str:
        return ", ".join(backend.program for backend in self._backends) or "none is planned"

    def close_idle(self) -> None:
        for backend in self._backends:
            backend.close_idle()
