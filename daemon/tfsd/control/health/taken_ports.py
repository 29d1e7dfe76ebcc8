"""Model servers whose ports another process took while they were down: they get others.

supervisord does not start a model server whose ports are taken (`tfsd.stack.supervisord`). Owns the verdict that they
stay taken, and that a program of the plan is missing, which a control that was killed while it moved it leaves behind.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import gevent

from tfsd.control.supervisor_client import Process, SupervisorError
from tfsd.errors import StartError
from tfsd.plan import Plan
from tfsd.run_dir import RunDir
from tfsd.stack.ports import PORT_TAKEN

log = logging.getLogger(__name__)


class TakenPorts:
    """Looks at the plan's model servers. `move(program)` starts one on other ports; it may take its time."""

    def __init__(self, run_dir: RunDir, move: Callable[[str], None]) -> None:
        self._run_dir = run_dir
        self._move = move
        self._refused: dict[str, int] = {}  # when the first start was refused, by program
        self._moving: set[str] = set()

    def processes_seen(self, processes: Mapping[str, Process]) -> None:
        """Move what could not be started twice. One refusal may be the fault of a process that is ending."""
        refused = {p.program: p for p in processes.values() if p.spawn_error.startswith(PORT_TAKEN)}
        self._refused = {name: start for name, start in self._refused.items() if name in refused}
        stay_taken = {
            name: process.spawn_error
            for name, process in refused.items()
            if self._refused.setdefault(name, process.start) != process.start
        }
        for program, reason in {**self._missing(processes), **stay_taken}.items():
            if program not in self._moving:
                log.warning("%s moves to other ports: %s.", program, reason)
                self._moving.add(program)
                gevent.spawn(self._try_to_move, program)

    def _missing(self, processes: Mapping[str, Process]) -> dict[str, str]:
        try:
            plan = Plan.load(self._run_dir)  # as it is now: what goes leaves the plan first
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.debug("Cannot read the plan: %r.", error)
            return {}
        servers = (server.program for model in plan.models.values() for server in model.servers)
        return {program: "supervisord does not know it" for program in servers if program not in processes}

    def _try_to_move(self, program: str) -> None:
        """What does not succeed is tried again after the next look."""
        try:
            self._move(program)
        except (StartError, SupervisorError, OSError) as error:
            log.error("Cannot give %s other ports: %s.", program, error)
        finally:
            self._refused.pop(program, None)
            self._moving.discard(program)
