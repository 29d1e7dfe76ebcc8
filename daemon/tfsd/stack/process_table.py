"""The file in which supervisord says what it runs: control reads it every second, which costs a tenth of asking.

Written when it changes, touched as long as supervisord's loop turns, and removed when it cannot be written; then
control asks. While the stack stops it says null, as calls are refused then.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

from supervisor import events
from supervisor.states import SupervisorStates, getProcessStateDescription
from supervisor.supervisord import Supervisor

from tfsd.run_dir import RunDir, replace

TOUCH_SECONDS = 0.5  # at the least between two


class ProcessTable:
    """The table of one supervisord, in the directory of its configuration file."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._path = RunDir(Path(supervisor.options.configfile).parent).processes
        self._changed = True
        self._touched = 0.0
        self._stopping = False
        for kind in (events.ProcessStateEvent, events.ProcessGroupEvent):
            events.subscribe(kind, self._note_change)

    def _note_change(self, event: events.Event) -> None:
        """The table is written later: what belongs to a change, such as the process id, is not yet known."""
        self._changed = True

    def write(self) -> None:
        """Called in each turn of supervisord's loop, before it waits."""
        now = time.monotonic()
        if self._supervisor.options.mood < SupervisorStates.RUNNING and not self._stopping:
            self._stopping = self._changed = True
        try:
            if self._changed:
                replace(self._path, json.dumps(None if self._stopping else self._processes()))
                self._changed, self._touched = False, now
            elif now - self._touched >= TOUCH_SECONDS:
                os.utime(self._path)
                self._touched = now
        except OSError:
            self._changed = True
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _processes(self) -> list[dict[str, object]]:
        """As supervisor's getAllProcessInfo, as far as control wants it."""
        return [
            {
                "name": process.config.name,
                "group": group.config.name,
                "statename": getProcessStateDescription(process.get_state()),
                "pid": process.pid,
                "start": int(process.laststart),
                "spawnerr": process.spawnerr or "",
            }
            for group in self._supervisor.process_groups.values()
            for process in group.processes.values()
        ]
