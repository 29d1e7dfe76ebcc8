"""What control asks of supervisord: which processes run, a signal to one of them, groups added and removed.

Owns the XML-RPC calls over supervisord's unix socket. It never decides anything about a process.
"""

from __future__ import annotations

import dataclasses
import http.client
import xmlrpc.client
from pathlib import Path
from typing import Any

from tfsd.control.connections import UnixConnection
from tfsd.run_dir import RunDir

RUNNING = "RUNNING"


STOP_MARGIN_SECONDS = 10.0  # for the answer, beyond the time that a program has to stop
BAD_NAME, ALREADY_STARTED, NOT_RUNNING, ALREADY_ADDED = 10, 60, 70, 90  # of supervisor.xmlrpc.Faults


class SupervisorError(Exception):
    """supervisord does not answer, or refused a call with the fault `code`; the text says why."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True)
class Process:
    """One program as supervisord sees it. `pid` is 0 when it does not run.

    `start` is the Unix time of its last start, cut to whole seconds; `state` is supervisord's name of its
    state (RUNNING, STARTING, BACKOFF, FATAL, …), `spawn_error` why it could not be started at all.
    """

    program: str
    state: str
    pid: int
    start: int
    group: str = ""
    spawn_error: str = ""

    @property
    def running(self) -> bool:
        return self.state == RUNNING


class SupervisorClient:
    """Calls to the supervisord that listens on `RUN/supervisor.sock`, each on a connection of its own."""

    def __init__(self, run_dir: RunDir, timeout: float = 4.0, stop_seconds: float = 30.0) -> None:
        self.socket_path = run_dir.supervisor_socket
        self._timeout = timeout
        self._stop_timeout = stop_seconds + STOP_MARGIN_SECONDS

    def processes(self) -> dict[str, Process]:
        """All processes by program name. Raises SupervisorError."""
        found = (_process(info) for info in self._call("getAllProcessInfo"))
        return {process.program: process for process in found}

    def signal(self, process: Process, name: str) -> None:
        """Send the signal called `name` (KILL, TERM, …) to a process. Raises SupervisorError."""
        self._call("signalProcess", f"{process.group or process.program}:{process.program}", name)

    def stop(self, process: Process) -> None:
        """Have a process stopped for good, without waiting for its end. Raises SupervisorError."""
        self._tolerant(
            NOT_RUNNING, "stopProcess", f"{process.group or process.program}:{process.program}", False
        )

    def start(self, process: Process) -> None:
        """Start a process that was stopped, without waiting for it. Raises SupervisorError."""
        self._tolerant(
            ALREADY_STARTED, "startProcess", f"{process.group or process.program}:{process.program}", False
        )

    def reload_config(self) -> None:
        """Have supervisord read its configuration files again; nothing is started yet. Raises SupervisorError."""
        self._call("reloadConfig")

    def add_group(self, name: str) -> None:
        """Start the group of that name in the configuration, if it does not run. Raises SupervisorError."""
        self._tolerant(ALREADY_ADDED, "addProcessGroup", name)

    def remove_group(self, name: str) -> None:
        """Stop all processes of a group, wait for their end, and forget it. Raises SupervisorError.

        A group that is not there is no error.
        """
        self._tolerant(BAD_NAME, "stopProcessGroup", name, timeout=self._stop_timeout)
        self._tolerant(BAD_NAME, "removeProcessGroup", name)

    def renew_group(self, name: str) -> None:
        """Start a group anew, if it runs, by what its configuration says now. Raises SupervisorError."""
        self.remove_group(name)
        self.reload_config()
        self.add_group(name)

    def _tolerant(self, code: int, method: str, *arguments: Any, timeout: float | None = None) -> None:
        try:
            self._call(method, *arguments, timeout=timeout)
        except SupervisorError as error:
            if error.code != code:
                raise

    def _call(self, method: str, *arguments: Any, timeout: float | None = None) -> Any:
        transport = _Transport(self.socket_path, timeout or self._timeout)
        try:
            with xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            message = f"supervisord refused {method}: {fault.faultString}"
            raise SupervisorError(message, fault.faultCode) from fault
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
        spawn_error=info["spawnerr"],
    )
