"""A supervisord that was stopped (SIGSTOP, or Ctrl-Z in its terminal) goes on.

It reads what all processes write: when it does not, nginx soon waits for room in its log's pipe, and nothing is
answered, nothing restarted and nothing stopped any more. Owns the look at its state, once a second.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable

import gevent

from tfsd.control.proc import state

LOOK_SECONDS = 1.0
STOPPED = "T"  # of proc(5); a process that a debugger holds is "t"

log = logging.getLogger(__name__)


def keep_going(supervisord: Callable[[], int] = os.getppid) -> None:
    """Look for ever. `supervisord` gives its process id; it is the one that has started us."""
    while True:
        go_on(supervisord())
        gevent.sleep(LOOK_SECONDS)


def go_on(pid: int) -> None:
    """Have a process that is stopped go on (SIGCONT). What it was told meanwhile, such as SIGTERM, it does then."""
    if state(pid) != STOPPED:
        return
    log.warning("A signal has stopped supervisord (pid %d); having it go on.", pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
