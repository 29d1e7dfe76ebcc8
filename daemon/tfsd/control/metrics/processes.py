"""Memory and CPU time of supervisord's programs, as the kernel counts them.

Owns the looking. A program is its process and all of that process's children: nginx's workers are nginx's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


def process_metrics(pids: Mapping[str, int]) -> Iterator[Metric]:
    """Resident memory and CPU seconds by program; `pids` has the process of each program that runs.

    Resident memory counts what processes share (nginx's workers, forked model servers) once for each of them.
    """
    memory = GaugeMetricFamily(
        "tfsd_process_resident_memory_bytes",
        "Resident memory of a program's process and its children.",
        labels=["program"],
    )
    cpu = CounterMetricFamily(
        "tfsd_process_cpu_seconds",
        "CPU time of a program's process and its children, user and system, since the process started.",
        labels=["program"],
    )
    for program, members in _families(pids).items():
        resident, seconds = _used(members)
        memory.add_metric([program], resident)
        cpu.add_metric([program], seconds)
    yield memory
    yield cpu


def resident_bytes(pids: Mapping[str, int]) -> dict[str, int]:
    """Resident memory by program, as `process_metrics` counts it."""
    return {program: _used(members)[0] for program, members in _families(pids).items()}


def _families(pids: Mapping[str, int]) -> dict[str, list[psutil.Process]]:
    """The processes of each program, found in one look at the machine's processes."""
    programs = {pid: program for program, pid in pids.items()}
    processes = {process.pid: process for process in psutil.process_iter(["ppid"])}
    families: dict[str, list[psutil.Process]] = {}
    for pid, process in processes.items():
        ancestor: int | None = pid
        while ancestor in processes and ancestor not in programs:
            ancestor = processes[ancestor].info["ppid"]
        if ancestor in programs:
            families.setdefault(programs[ancestor], []).append(process)
    return families


def _used(members: Iterable[psutil.Process]) -> tuple[int, float]:
    """(resident bytes, CPU seconds) of these processes; one that has just ended counts nothing."""
    resident, seconds = 0, 0.0
    for process in members:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            seconds += times.user + times.system
            resident += process.memory_info().rss
    return resident, seconds
