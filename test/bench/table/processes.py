"""CPU time of processes, to the nanosecond."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time of the processes and all that descend from them and live now (user and system, all threads).

    The kernel's scheduler counts nanoseconds (/proc/PID/schedstat), where /proc/PID/stat has ticks of 10 ms.
    """
    return sum(map(run_time, _with_descendants(pids))) / 1e9


def _with_descendants(pids: Iterable[int]) -> set[int]:
    found: set[int] = set()
    left = list(pids)
    while left:
        pid = left.pop()
        if pid in found:
            continue
        found.add(pid)
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                left += map(int, children.read_text().split())
    return found


def run_time(pid: int) -> int:
    """Nanoseconds that all threads of a process have run."""
    total = 0
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            total += int(file.read_text().split()[0])
    return total
