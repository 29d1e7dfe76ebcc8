"""Whether a model still fits: an estimate of the memory that it will need, held against what is left.

Owns the estimate and the reservations of loads under way. Reads the kernel's files; measured figures stand beside
the constants. It never unloads anything: the platform does that after a 507.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tfsd import cgroup
from tfsd.model_directory import FoundModel, version_of

MB = 1 << 20
SIZE_FACTOR = 1.3  # a SavedModel in memory, by its size on disk
EMBEDDED_SERVER_BYTES = 400 * MB  # of a process with TensorFlow loaded
REAL_SERVER_BYTES = 150 * MB
WORKER_BYTES = 50 * MB


class NotEnoughMemory(Exception):
    """The model does not fit; the text has the figures."""


class Capacity:
    """What is left of the container's memory, less what loads under way will take."""

    def __init__(self, free: Callable[[], int]) -> None:
        self._free = free
        self._reserved = 0

    @contextlib.contextmanager
    def reserve(self, needed: int) -> Iterator[None]:
        """Keep `needed` bytes for a load that is under way. Raises NotEnoughMemory."""
        free = self._free() - self._reserved
        if needed > free:
            raise NotEnoughMemory(
                f"not enough memory: the model needs about {needed // MB} MB, {max(0, free) // MB} MB are left"
                + (
                    f" ({self._reserved // MB} MB are kept for models that are being loaded)"
                    * bool(self._reserved)
                )
            )
        self._reserved += needed
        try:
            yield
        finally:
            self._reserved -= needed


def estimate(saved_model_bytes: int, server_bytes: int, workers: int) -> int:
    """Bytes that a model will take: its versions, the model server processes to be started, its own workers."""
    return int(saved_model_bytes * SIZE_FACTOR) + server_bytes + workers * WORKER_BYTES


def saved_model_bytes(model: FoundModel) -> int:
    """The size on disk of all versions that will be served."""
    total = 0
    for entry in os.scandir(model.base_path):
        if version_of(entry.name) in model.versions:
            for directory, _, files in os.walk(entry.path):
                total += sum(_size(os.path.join(directory, name)) for name in files)
    return total


def free_memory(limit: int | None = None, proc: Path = cgroup.PROC) -> int:
    """Bytes that may still be used: by the container's limits, by the machine, by our own `limit`.

    Memory that the kernel gives back on demand counts as free. `limit` is held against all processes of this
    session, which are supervisord's.
    """
    left = [1024 * cgroup.number_after(proc / "meminfo", "MemAvailable:")]
    of_the_groups = cgroup.memory_left(proc)
    if of_the_groups is not None:
        left.append(of_the_groups)
    if limit is not None:
        left.append(limit - session_bytes(proc))
    return min(left)


def session_bytes(proc: Path = cgroup.PROC) -> int:
    """Memory of all processes of our session, what they share being divided among them."""
    session = _session(proc / "self")
    total = 0
    for directory in proc.glob("[0-9]*"):
        if _session(directory) == session:
            total += 1024 * cgroup.number_after(directory / "smaps_rollup", "Pss:")
    return total


def _session(directory: Path) -> int | None:
    try:
        return int((directory / "stat").read_text().rpartition(")")[2].split()[3])
    except (OSError, ValueError, IndexError):
        return None


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
