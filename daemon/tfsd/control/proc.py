"""What the kernel says of a process in /proc/PID/stat, see proc(5): its state, its CPU time, when it began."""

from __future__ import annotations

import os
import time
from pathlib import Path

RUNNING, DISK_SLEEP = "R", "D"
TICKS = os.sysconf("SC_CLK_TCK")  # in a second


def state(pid: int) -> str:
    """Its state, a letter; empty when there is no such process."""
    fields = _fields(pid)
    return fields[0].decode() if fields else ""


def is_busy(pid: int) -> bool:
    """Whether it is on a CPU, or waits for one or for a disk: on a busy machine one that loads uses little."""
    return state(pid) in (RUNNING, DISK_SLEEP)


def cpu_seconds(pid: int) -> float:
    """CPU time that it has used, in user and system mode; 0 when there is no such process."""
    fields = _fields(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS if fields else 0.0


def began(pid: int) -> float | None:
    """The Unix time at which it was started, cut to a tick; None when there is no such process."""
    fields = _fields(pid)
    if not fields:
        return None
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / TICKS
    return time.time() - age


def _fields(pid: int) -> list[bytes]:
    """The fields after the name, which may have blanks; none when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []
