"""What this container may use of the machine. Reads the kernel's files and never changes anything."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Mapping
from pathlib import Path


def available_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """CPUs that this process may use: its affinity, cut by a container's quota (cgroup v2 or v1)."""
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return cpus
    if not quota.isdigit():  # "max", or -1 in v1
        return cpus
    return max(1, min(cpus, -(-int(quota) // int(period))))


def gpus(environ: Mapping[str, str], devices: Path = Path("/dev")) -> tuple[str, ...]:
    """The GPUs that model servers may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [part.strip() for part in visible.split(",")]
        # CUDA ignores all that follows an index that names no device.
        return tuple(itertools.takewhile(lambda name: name not in ("", "-1"), names))
    found = (path.name.removeprefix("nvidia") for path in devices.glob("nvidia[0-9]*"))
    return tuple(sorted(found, key=int))


def memory_bytes(cgroup: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> int:
    """The memory that this container has: the machine's, or the limit of a container (cgroup v2 or v1)."""
    total = int((proc / "meminfo").read_text().split()[1]) * 1024  # MemTotal is the first line, in kB
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # "max" is no number
            total = min(total, int((cgroup / name).read_text()))
    return total
