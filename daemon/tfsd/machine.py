"""What this container may use of the machine. Reads the kernel's files and never changes anything."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping
from pathlib import Path

from tfsd import cgroup


def schedulable_cpus() -> int:
    """CPUs that this process may run on, by its affinity; TensorFlow counts these."""
    return len(os.sched_getaffinity(0))


def available_cpus(proc: Path = cgroup.PROC) -> int:
    """CPUs that this process may use: those it may run on, or as many as the quota of its control groups amounts to."""
    cpus, quota = schedulable_cpus(), cgroup.cpu_quota(proc)
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def gpus(environ: Mapping[str, str], devices: Path = Path("/dev")) -> tuple[str, ...]:
    """The GPUs that model servers may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [part.strip() for part in visible.split(",")]
        # CUDA ignores all that follows an index that names no device.
        return tuple(itertools.takewhile(lambda name: name not in ("", "-1"), names))
    found = (path.name.removeprefix("nvidia") for path in devices.glob("nvidia[0-9]*"))
    return tuple(sorted(found, key=int))


def memory_bytes(proc: Path = cgroup.PROC) -> int:
    """The memory that this container has: the machine's, or the limit of its control groups."""
    total = 1024 * cgroup.number_after(proc / "meminfo", "MemTotal:")
    limit = cgroup.memory_limit(proc)
    return total if limit is None else min(total, limit)
