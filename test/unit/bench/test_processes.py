from __future__ import annotations

import os
import subprocess
import sys

from bench.table.processes import cpu_seconds


def test_cpu_time_is_that_of_a_process_and_its_descendants() -> None:
    code = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    before = cpu_seconds([os.getpid()])
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert cpu_seconds([child.pid]) >= 0.25
        assert cpu_seconds([os.getpid()]) - before >= 0.25
        child.communicate(b"\n")


def test_a_process_that_is_gone_has_none() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert cpu_seconds([child.pid]) == 0
