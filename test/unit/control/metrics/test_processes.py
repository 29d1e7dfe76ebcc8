"""Memory and CPU time by program: of real processes."""

from __future__ import annotations

import os
import subprocess
import sys

from tfsd.control.metrics.page import render
from tfsd.control.metrics.processes import process_metrics

BUSY_CHILD = """
import subprocess, sys
hold = bytearray(60 << 20)
child = subprocess.Popen([sys.executable, "-c", "hold = bytearray(60 << 20); print(1, flush=True); input()"])
child.wait()
"""


def values(pids: dict[str, int]) -> dict[str, float]:
    lines = render(process_metrics(pids)).decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def test_a_program_is_its_process_and_the_children() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BUSY_CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == b"1\n"  # the child has its memory

        found = values({"nginx": process.pid, "control": os.getpid(), "gone": 1 << 22})

        process.stdin.close()
    assert found['tfsd_process_resident_memory_bytes{program="nginx"}'] > 120 << 20
    assert found['tfsd_process_cpu_seconds_total{program="control"}'] > 0
    assert not any("gone" in name for name in found)
