"""A container's process against its parent's."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("gevent")

PARENT = """
import sys
from pathlib import Path
from tfsd.sagemaker.instances.container import Container
container = Container(["sleep", "1000"], Path(sys.argv[1]), Path(sys.argv[1]), {"PATH": "/bin:/usr/bin"}, 1)
container.start(print)
print(container.pid, flush=True)
input()
"""


def test_it_ends_when_the_emulator_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    pid = int(parent.stdout.readline())
    process = Path(f"/proc/{pid}")
    assert process.exists()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + 60
    while process.exists() and "\nState:\tZ" not in (process / "status").read_text():
        assert time.monotonic() < end, "it lives on"
        time.sleep(0.02)
