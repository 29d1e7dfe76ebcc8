"""Waiting until something can be read from a socket, for less than gevent's own.

gevent tries to read first, which costs an exception where nothing has come yet, then starts a watcher, makes an object
that is woken, and stops the watcher: that is a change of what the kernel watches for each wait.
"""

from __future__ import annotations

from typing import Any

import gevent

_READ = 1  # gevent's event of a watcher


class Readable:
    """Whether a socket can be read, or has ended; for one greenlet at a time of the thread which made this.

    The event loop watches the socket from the first wait on, until something comes that nobody waits for.
    """

    __slots__ = ("_hub", "_waiting", "_watcher")

    def __init__(self, sock: Any) -> None:
        """`sock` is one of gevent's; once it is closed this is to be closed, before the event loop goes on."""
        self._hub = gevent.get_hub()
        self._watcher = self._hub.loop.io(sock.fileno(), _READ)
        self._waiting: Any = None

    def wait(self) -> None:
        """Return when it can be read; ends in whatever is raised in the greenlet meanwhile, as at its time limit."""
        if not self._watcher.active:
            self._watcher.start(self._come)
        self._waiting = gevent.getcurrent()
        try:
            self._hub.switch()
        finally:
            self._waiting = None

    def close(self) -> None:
        """Watch no more; closing twice is no mistake."""
        self._watcher.close()

    def _come(self) -> None:
        if self._waiting is None:
            self._watcher.stop()  # else it would be told again and again
        else:
            self._waiting.switch()
