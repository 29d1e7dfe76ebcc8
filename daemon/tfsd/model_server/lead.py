"""Which thread of a server waits for its connections: one leads, and serves what comes itself as long as that is short.

Threads that all wait on one epoll set wake up together, and hand the interpreter lock over at every system call: that
costs several times what a small request does. So only the leader waits, reads, computes and answers. Whoever is about
to do what may take long, or to wait, says so by `leave`: then another thread leads, and this one ends what it is at.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Lead:
    """The lead of one server's threads.

    Args:
        leaving: called in the leader's thread before another one may take the lead.
    """

    def __init__(self, leaving: Callable[[], None] = lambda: None) -> None:
        self._leaving = leaving
        self._free = threading.Lock()
        self._leader = 0

    @property
    def mine(self) -> bool:
        """Whether the current thread leads."""
        return self._leader == threading.get_ident()

    def take(self) -> None:
        """Wait for the lead."""
        self._free.acquire()
        self._leader = threading.get_ident()
        _current.lead = self

    def leave(self) -> None:
        """Let another thread lead; for a thread that does not, there is nothing to do."""
        if self.mine:
            self._leaving()
            _current.lead = None
            self._leader = 0
            self._free.release()


class _Current(threading.local):
    lead: Lead | None = None


_current = _Current()


def leave() -> None:
    """Called before what may take long, and before waiting: if the current thread leads, another one takes over."""
    if _current.lead is not None:
        _current.lead.leave()
