"""How often supervisord has started each program again.

Owns the counters and their log line; what runs is handed in.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from tfsd.control.supervisor_client import Process

log = logging.getLogger(__name__)


class Restarts:
    """`counts` by program, and the process ids `pids` that the programs had when they were last seen."""

    def __init__(
        self, counts: Mapping[str, int] | None = None, pids: Mapping[str, int] | None = None
    ) -> None:
        self.counts: Counter[str] = Counter(counts or {})
        self.pids: dict[str, int] = dict(pids or {})

    def forget(self, program: str) -> None:
        """A program is gone; one of its name that comes later is another."""
        self.pids.pop(program, None)
        self.counts.pop(program, None)

    def processes_seen(self, processes: Mapping[str, Process]) -> None:
        """Count each program that runs as another process than before; forget those that are no more."""
        self.pids = {program: pid for program, pid in self.pids.items() if program in processes}
        self.counts = Counter({p: count for p, count in self.counts.items() if p in processes})
        for program, process in processes.items():
            before = self.pids.get(program, 0)
            if not process.pid or process.pid == before:
                continue
            self.pids[program] = process.pid
            if before:
                self.counts[program] += 1
                log.warning("%s was restarted: pid %d -> %d.", program, before, process.pid)
