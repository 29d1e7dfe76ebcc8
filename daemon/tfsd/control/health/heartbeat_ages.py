"""Which worker processes are alive: heartbeats seen, kept per process, and the verdict that one hangs.

Each worker touches its heartbeat file every second. Owns the ages of these heartbeats; it kills nobody itself.
Ages are of the monotonic clock, so that setting the machine's clock hurts no worker.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path

from tfsd.control import proc
from tfsd.control.supervisor_client import Process
from tfsd.run_dir import RunDir

STUCK_MARGIN_SECONDS = 5  # more than settings.GATEWAY_MARGIN_SECONDS: nginx has answered 504 by then


@dataclasses.dataclass
class _Beat:
    pid: int
    modified: float | None
    changed: float  # monotonic
    beaten: bool


class Heartbeats:
    """The heartbeats of the workers' present processes.

    A process that has beaten hangs when it was silent for `silence_limit` seconds; one that has not beaten
    yet (it imports the user's code) hangs after `start_limit` seconds. `began` tells the Unix time at which a
    process was started.
    """

    def __init__(
        self,
        silence_limit: float,
        start_limit: float,
        began: Callable[[int], float | None] = proc.began,
    ) -> None:
        self._began = began
        self._silence_limit = silence_limit
        self._start_limit = max(start_limit, silence_limit)
        self._beats: dict[str, _Beat] = {}

    def observe(self, process: Process, modified: float | None, now: float) -> None:
        """Note the file's modification time (Unix time, None without a file), seen at monotonic `now`.

        A file that an earlier process left is no beat: it counts when it changes under this process, or is
        newer than the process, of whose start the kernel tells no more than the tick.
        """
        beat = self._beats.get(process.program)
        if beat is None or beat.pid != process.pid:
            began = self._began(process.pid)
            beaten = modified is not None and began is not None and modified >= began + 1 / proc.TICKS
            self._beats[process.program] = _Beat(process.pid, modified, now, beaten)
        elif modified != beat.modified:
            self._beats[process.program] = _Beat(process.pid, modified, now, modified is not None)

    def forget_all_but(self, programs: Container[str]) -> None:
        """Keep no more than the heartbeats of these programs."""
        self._beats = {program: beat for program, beat in self._beats.items() if program in programs}

    def answered(self, process: Process, now: float) -> None:
        """The process has answered a request, which counts as a beat: its file may be what fails."""
        beat = self._beats.get(process.program)
        if beat is not None and beat.pid == process.pid:
            self._beats[process.program] = dataclasses.replace(beat, changed=now, beaten=True)

    def silence(self, process: Process, now: float) -> float:
        """Seconds since the process was last seen to beat, or since it was first seen."""
        beat = self._beats.get(process.program)
        return now - beat.changed if beat and beat.pid == process.pid else 0.0

    def alive(self, process: Process, now: float) -> bool:
        """Whether the process runs, has beaten, and does not hang."""
        beat = self._beats.get(process.program)
        known = beat is not None and beat.pid == process.pid and beat.beaten
        return known and process.running and not self.hangs(process, now)

    def hangs(self, process: Process, now: float) -> bool:
        """Whether the process runs and has been silent for too long."""
        beat = self._beats.get(process.program)
        if not process.running or beat is None or beat.pid != process.pid:
            return False
        return now - beat.changed > (self._silence_limit if beat.beaten else self._start_limit)


def modification_times(run_dir: RunDir, programs: Iterable[str]) -> Mapping[str, float | None]:
    """When each program's heartbeat was last touched (Unix time); None where there is none."""
    return {program: _modified(run_dir.heartbeat(program)) for program in programs}


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
