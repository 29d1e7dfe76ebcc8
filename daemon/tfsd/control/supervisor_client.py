"""What control asks of supervisord: which processes run, and a signal to one of them.

Owns the XML-RPC calls over supervisord's unix socket. It never decides anything about a process.
"""

from __future__ import annotations

import dataclasses
import http.client
import xmlrpc.client
from pathlib import Path
from typing import Any

from tfsd.control.connections import UnixConnection

SOCKET_NAME = "supervisor.sock"
RUNNING = "RUNNING"


class SupervisorError(Exception):
    """supervisord does not answer, or refused a call; the text says why."""


@dataclasses.dataclass(frozen=True)
class Process:
    """One program as supervisord sees it. `pid` is 0 when it does not run.

    `start` is the Unix time of its last start, cut to whole seconds; `state` is supervisord's name of its
    state (RUNNING, STARTING, BACKOFF, FATAL, …).
    """

    program: str
    state: str
    pid: int
    start: int
    group: str = ""

    @property
    def running(self) -> bool:
        return self.state == RUNNING


class SupervisorClient:
    """Calls to the supervisord that listens on `RUN/supervisor.sock`, each on a connection of its own."""

    def __init__(self, run_dir: Path, timeout: float = 4.0) -> None:
        self.socket_path = run_dir / SOCKET_NAME
        self._timeout = timeout

    def processes(self) -> dict[str, Process]:
        """All processes by program name. Raises SupervisorError."""
        found = (_process(info) for info in self._call("getAllProcessInfo"))
        return {process.program: process for process in found}

    def signal(self, process: Process, name: str) -> None:
        """Send the signal called `name` (KILL, TERM, …) to a process. Raises SupervisorError."""
        self._call("signalProcess", f"{process.group or process.program}:{process.program}", name)

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = _Transport(self.socket_path, self._timeout)
        try:
            with xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise SupervisorError(f"supervisord refused {method}: {fault.faultString}") from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise SupervisorError(f"supervisord does not answer on {self.socket_path}: {error}") from error


class _Transport(xmlrpc.client.Transport):
    """Like supervisor's own SupervisorTransport, with a timeout and without importing supervisor's server."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__()
        self._unix = UnixConnection(path, timeout)

    def make_connection(self, host: Any) -> UnixConnection:
        self._connection = host, self._unix
        return self._unix


def _process(info: dict[str, Any]) -> Process:
    return Process(
        program=info["name"],
        state=info["statename"],
        pid=info["pid"],
        start=info["start"],
        group=info["group"],
    )
