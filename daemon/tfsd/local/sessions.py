"""Processes by session: what a killed leader has left behind."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def end_session(leader: int) -> None:
    """Kill every process of the session that `leader` leads or led."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(process.name)) == leader:
                os.kill(int(process.name), signal.SIGKILL)
