"""What an earlier control saw last: a control that has just been started again does not know better yet.

Only the process that answers has changed. As long as it has not heard of everything that matters, which takes seconds
on a busy machine, while the platform gives /ping 2 s, it repeats its predecessor's verdict. Owns the mark that says
when the endpoint was last seen to be healthy.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence

from tfsd.control.health.health import FRESH_SECONDS
from tfsd.errors import os_problem
from tfsd.run_dir import RunDir, replace

HOLDS_SECONDS = 30.0  # until a new control has heard of everything, at the longest

log = logging.getLogger(__name__)


class LastVerdict:
    """`clock` gives Unix time, in seconds, as the file system does."""

    def __init__(self, run_dir: RunDir, clock: Callable[[], float]) -> None:
        self._mark = run_dir.healthy
        self._clock = clock
        self._trouble = ""
        try:
            self._healthy_at = self._mark.stat().st_mtime
        except OSError:
            self._healthy_at = -math.inf

    def missing(self, problems: Sequence[str], complete: bool) -> list[str]:
        """What keeps the endpoint from being healthy: `problems` by what this control has seen, or its predecessor's
        word, that nothing does, while it still holds.

        `complete`: whether this control has heard of everything by now.
        """
        age = self._clock() - self._healthy_at
        return [] if 0 <= age <= (FRESH_SECONDS if complete else HOLDS_SECONDS) else list(problems)

    def note(self, problems: Sequence[str]) -> None:
        """Keep for a successor what this control, which has heard of everything, sees."""
        try:
            if problems:
                self._mark.unlink(missing_ok=True)
            elif self._mark.exists():
                os.utime(self._mark)
            else:
                replace(self._mark, "")
            self._trouble = ""
        except OSError as error:
            if (trouble := os_problem(error)) != self._trouble:
                log.warning("Cannot note whether the endpoint is healthy: %s.", trouble)
            self._trouble = trouble
