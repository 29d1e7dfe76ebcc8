"""Model servers that run and serve nothing, or not what the plan says: started again, or told once more.

One that was stopped (SIGSTOP), that hangs, that found no version since a directory was away when it came, or that could
not open its REST port does not end, so that supervisord leaves it as it is. Owns the verdict on these, and what is
done about it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping

from tfsd.control.health.health import Health
from tfsd.control.health.listening import listening, listens_at
from tfsd.control.proc import cpu_seconds, is_busy
from tfsd.control.supervisor_client import Process, SupervisorClient, SupervisorError
from tfsd.plan import Model, ModelServer

ENDED = ("STOPPED", "EXITED", "FATAL")  # states in which supervisord does not start a process by itself

LEAST_CPU_SHARE = 0.01  # of a process that loads; one that waits for a directory uses less

log = logging.getLogger(__name__)


@dataclasses.dataclass
class _Watched:
    """`since`: when (of the clock) it last did what it should; `looked`: when the CPU time `cpu` was noted."""

    pid: int
    since: float
    looked: float
    cpu: float


class IdleServers:
    """Looks at the plan's model servers and acts when one has not served a model for `patience` seconds.

    A process that uses CPU time, or would, and has not opened its gRPC port yet is loading, and has `load_timeout`
    seconds.
    `put_back(program)` has a model server that serves other models take in what the plan has besides; with None, there
    are no such ones.
    `start_stopped`: whether a program that somebody stopped is started again.
    """

    def __init__(
        self,
        health: Health,
        supervisor: SupervisorClient,
        clock: Callable[[], float],
        *,
        patience: float,
        load_timeout: float,
        start_stopped: bool,
        put_back: Callable[[str], None] | None = None,
    ) -> None:
        self._health = health
        self._supervisor = supervisor
        self._clock = clock
        self._patience = patience
        self._load_timeout = load_timeout
        self._start_stopped = start_stopped
        self._put_back = put_back
        self._watched: dict[str, _Watched] = {}

    def processes_seen(self, processes: Mapping[str, Process]) -> None:
        """Act on what has been idle for too long. supervisord's refusal is logged, and tried again later."""
        servers: dict[ModelServer, list[Model]] = {}
        for model in self._health.plan.models.values() if self._health.plan else ():
            for server in model.servers:
                servers.setdefault(server, []).append(model)
        programs = {server.program for server in servers}
        self._watched = {program: seen for program, seen in self._watched.items() if program in programs}
        for server, models in servers.items():
            if server.program in processes and not any(model.unloadable for model in models):
                self._look_at(server, models, processes[server.program])

    def _look_at(self, server: ModelServer, models: list[Model], process: Process) -> None:
        now = self._clock()
        idle = [model for model in models if not self._health.at_work(model, server.program)]
        watched = self._watched.get(server.program)
        if not idle or watched is None or watched.pid != process.pid:
            self._watched[server.program] = _Watched(process.pid, now, now, cpu_seconds(process.pid))
            return
        if now - watched.looked <= self._patience:
            return
        used, waited = cpu_seconds(process.pid) - watched.cpu, now - watched.looked
        watched.cpu, watched.looked = watched.cpu + used, now
        loading = not _listens(server) and (used > waited * LEAST_CPU_SHARE or is_busy(process.pid))
        if loading and now - watched.since <= self._load_timeout:
            return
        try:
            self._act(server, idle, models, process)
        except SupervisorError as error:
            log.error("Cannot restart %s: %s.", server.program, error)

    def _act(self, server: ModelServer, idle: list[Model], models: list[Model], process: Process) -> None:
        names = ", ".join(model.name for model in idle)
        if not process.pid:
            if self._start_stopped and process.state in ENDED:
                log.warning("%s was stopped and should serve %s; starting it.", server.program, names)
                self._supervisor.start(process)
        elif len(idle) < len(models) and self._put_back is not None:
            log.warning("%s does not serve %s any more; putting it back.", server.program, names)
            self._put_back(server.program)
        else:
            log.warning(
                "%s (pid %d) serves nothing of what it should (%s: %s); killing it for supervisord to restart.",
                server.program, process.pid, names, self._health.trouble(idle[0], server.program),
            )  # fmt: skip
            self._supervisor.signal(process, "KILL")


def _listens(server: ModelServer) -> bool:
    """Whether it has opened its gRPC port, or, where it has none, its socket."""
    return server.grpc_port in listening() if server.grpc_port else listens_at(server.grpc_socket)
