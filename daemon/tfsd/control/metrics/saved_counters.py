"""What control must not forget when it is killed: its counters, and how far the log of requests was read.

Owns the file of saved counters. The counters and the position in the log are stored
together, so that every line is counted once. What belongs to an earlier start of the stack is not taken over.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from tfsd.control.health.restarts import Restarts
from tfsd.control.health.status_polls import StatusPolls
from tfsd.control.metrics.capture_totals import CaptureTotals
from tfsd.control.metrics.loads import Loads
from tfsd.control.metrics.request_counts import RequestCounts
from tfsd.control.metrics.request_log import Position
from tfsd.control.proc import began
from tfsd.run_dir import RunDir, replace

log = logging.getLogger(__name__)


class Memory:
    """The counters of one run of the stack, as they were last saved, or new ones.

    `position` is where reading the log of requests goes on; None when it starts at the log's end.
    """

    def __init__(self, run_dir: RunDir) -> None:
        self._path = run_dir.saved_counters
        self._stack = _stack_id(run_dir)
        self._saved: dict[str, Any] | None = None
        self.requests = RequestCounts()
        self.restarts = Restarts()
        self.polls = StatusPolls(lambda program: self.restarts.pids.get(program))
        self.loads = Loads(time.time, self._started)
        self.captures = CaptureTotals()
        self.position: Position | None = None
        try:
            self._recall(json.loads(self._path.read_text()))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.error("Counters start at zero, since %s cannot be used: %r.", self._path, error)

    def _started(self, program: str) -> float | None:
        """When the program's present process was started."""
        pid = self.restarts.pids.get(program)
        return began(pid) if pid else None

    def forget(self, model: str) -> None:
        """Drop all that was counted for a model that is gone."""
        self.requests.forget(model)
        self.loads.forget(model)

    def forget_program(self, program: str) -> None:
        """Drop what was counted for a program that is gone."""
        self.restarts.forget(program)
        self.polls.forget(program)

    def save(self, position: Position | None) -> None:
        """Store the counters with the position up to which they count, if anything has changed."""
        document = {
            "stack": self._stack,
            "position": [position.inode, position.offset] if position else None,
            "requests": self.requests.to_document(),
            "restarts": dict(self.restarts.counts),
            "pids": dict(self.restarts.pids),
            "polls": self.polls.to_document(),
            "captures": self.captures.to_document(),
        }
        if document == self._saved:
            return
        replace(self._path, json.dumps(document))
        self._saved = document

    def _recall(self, document: dict[str, Any]) -> None:
        if document["stack"] != self._stack:
            return
        requests = RequestCounts.from_document(document["requests"])
        restarts = Restarts(document["restarts"], document["pids"])
        position = Position(*document["position"]) if document["position"] else None
        captures = CaptureTotals.from_document(document["captures"])
        self.polls.recall(document["polls"])
        self.captures = captures
        self.requests, self.restarts, self.position = requests, restarts, position


def _stack_id(run_dir: RunDir) -> str:
    """Tells one run of the stack from the next: supervisord makes its socket anew at each start."""
    try:
        status = run_dir.supervisor_socket.stat()
    except OSError:
        return ""
    return f"{status.st_ino}-{status.st_mtime_ns}"
