"""Programs that come and go while supervisord runs: a file of sections for each, and the calls that follow.

Owns the directory of such files. What a file says is decided elsewhere (`tfsd.stack.multi_model`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import gevent
from gevent.lock import BoundedSemaphore

from tfsd.control import ends
from tfsd.control.ends import End
from tfsd.control.supervisor_client import SupervisorClient, SupervisorError
from tfsd.run_dir import RunDir, replace

TRIES = 5
PAUSE_SECONDS = 1.0

log = logging.getLogger(__name__)


class Programs:
    """What supervisord runs beside what it was started with. `removed` is told each program that is no more."""

    def __init__(
        self, run_dir: RunDir, supervisor: SupervisorClient, removed: Callable[[str], None] = lambda _: None
    ) -> None:
        self._removed = removed
        self._run_dir = run_dir
        self._supervisor = supervisor
        self._lock = BoundedSemaphore()  # supervisord reads all files at once: none may change meanwhile

    def add(self, name: str, sections: str, groups: Sequence[str]) -> None:
        """Have the process groups of `sections` started; `name` is the file's. Raises SupervisorError."""
        with self._lock:
            replace(self._run_dir.program_conf(name), sections)
            self._supervisor.reload_config()
            for group in groups:
                self._supervisor.add_group(group)

    def renew(self, name: str, sections: str, group: str) -> None:
        """Have one group of a file started anew by other sections. Raises SupervisorError."""
        with self._lock:
            replace(self._run_dir.program_conf(name), sections)
            self._supervisor.renew_group(group)

    def remove(self, name: str, groups: Sequence[str], programs: Sequence[str]) -> None:
        """Stop and forget the groups, as far as there are any of them. Raises SupervisorError.

        `programs` are the names of their processes.
        """
        stopping = [gevent.spawn(self._stop, group) for group in groups]
        gevent.joinall(stopping, raise_error=True)
        with self._lock:
            self._run_dir.program_conf(name).unlink(missing_ok=True)
        for program in programs:
            self.forget_end(program)
            self._removed(program)

    def names(self) -> set[str]:
        """The names of the files that are there."""
        return {path.name.removesuffix(".conf") for path in self._run_dir.programs.glob("*.conf")}

    def end_of(self, program: str) -> End | None:
        """How the program's process ended last. None: it did not."""
        return ends.end_of(self._run_dir, program)

    def forget_end(self, program: str) -> None:
        """Forget how it ended."""
        self._run_dir.end(program).unlink(missing_ok=True)

    def kill(self, program: str) -> None:
        """Kill the program's process, which supervisord then starts again. Raises SupervisorError."""
        process = self._supervisor.processes().get(program)
        if process is not None and process.pid:
            self._supervisor.signal(process, "KILL")

    def _stop(self, group: str) -> None:
        for attempt in range(TRIES):
            try:
                return self._supervisor.remove_group(group)
            except SupervisorError as error:
                if attempt == TRIES - 1:
                    raise
                log.warning("Cannot stop %s, trying again: %s.", group, error)
                gevent.sleep(PAUSE_SECONDS)
