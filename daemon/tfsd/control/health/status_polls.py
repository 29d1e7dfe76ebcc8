"""Asking model servers for the states of versions, and counting what control asked.

A model server counts every request for a status over REST, as if a client had sent it. Owns the counts of control's
own, by process of a model server, so that the metrics can leave them out.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tfsd.control.health import model_status
from tfsd.control.health.model_status import NoStatusError, VersionStatus
from tfsd.plan import ModelServer

OK, NOT_FOUND = "OK", "NOT_FOUND"  # as the label `status` of a model server's counter has them
UNSEEN = 0  # the process id of a process that supervisord has not told of yet


@dataclasses.dataclass
class _Process:
    pid: int
    asked: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)  # by model and status
    shown: dict[tuple[str, str], float] = dataclasses.field(default_factory=dict)


class StatusPolls:
    """Polls, and what they add to `request_count`. `pid_of` a program is that of its process as it was last seen."""

    def __init__(self, pid_of: Callable[[str], int | None]) -> None:
        self._pid_of = pid_of
        self._processes: dict[str, _Process] = {}

    def poll(self, model: str, server: ModelServer, timeout: float) -> tuple[VersionStatus, ...]:
        """As `model_status.poll`. A poll counts from its beginning, and no more when no answer came."""
        process = self._process(server.program)
        process.asked[model, OK] += 1
        try:
            return model_status.poll(model, server.rest_port, timeout)
        except NoStatusError as error:
            process.asked[model, OK] -= 1
            if error.status == 404:
                process.asked[model, NOT_FOUND] += 1
            elif error.status is None:  # the next answer may be another process's
                self._process(server.program)
            raise

    def others(self, program: str, model: str, status: str, counted: float) -> float:
        """How many of the requests that the model server has counted were not ours: never fewer than said before.

        A poll under way may be counted there or not: it is taken for counted, and the difference shows later.
        """
        process = self._process(program)
        value = max(counted - process.asked[model, status], process.shown.get((model, status), 0.0), 0.0)
        process.shown[model, status] = value
        return value

    def forget(self, program: str) -> None:
        """A program is gone."""
        self._processes.pop(program, None)

    def to_document(self) -> dict[str, Any]:
        """What a later control needs, for JSON."""
        return {
            program: [process.pid, [[*key, count] for key, count in process.asked.items()]]
            for program, process in self._processes.items()
        }

    def recall(self, document: Mapping[str, Any]) -> None:
        """Go on from what an earlier control counted. Raises KeyError, TypeError or ValueError."""
        self._processes = {
            program: _Process(int(pid), Counter({(model, status): int(n) for model, status, n in counts}))
            for program, (pid, counts) in document.items()
        }

    def _process(self, program: str) -> _Process:
        """The counts of the program's present process.

        supervisord is looked at now and then only: when the process that it last told of is gone, the next one has
        taken its place, or will.
        """
        pid = self._pid_of(program) or UNSEEN
        if not Path(f"/proc/{pid}").exists():
            pid = UNSEEN
        process = self._processes.get(program)
        if process is not None and process.pid == UNSEEN:
            process.pid = pid
        if process is None or process.pid != pid:
            process = self._processes[program] = _Process(pid)
        return process
