"""The process that makes a model's code ready (`python -m tfsd.start.user_code`), while control goes on.

Owns its life: it never outlives the load that it works for, not even when control is killed meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import gevent.subprocess

from tfsd.model_directory import Code, UserCode
from tfsd.run_dir import RunDir
from tfsd.start.environments import KILLED


class CodeError(Exception):
    """The model's code cannot be served; the text says why."""


class NoRoomForCode(CodeError):
    """There is too little memory or disk to make it ready."""


def prepare(code: UserCode, environment: Path, run_dir: RunDir, started: Callable[[int], None]) -> Code:
    """Install the requirements and check the script; `started` is told the helper's process group.

    Raises CodeError, or NoRoomForCode, which is one.
    """
    words = ["--source", str(code.source_dir), "--environment", str(environment)]
    process = gevent.subprocess.Popen(
        [sys.executable, "-m", "tfsd.start.user_code", *words],
        cwd=run_dir,
        stdin=gevent.subprocess.DEVNULL,
        stdout=gevent.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        started(process.pid)
        output, _ = process.communicate()
    except BaseException:
        kill_group(process.pid)
        process.wait()
        raise
    try:
        answer = json.loads(output)
        if "error" in answer:
            raise (NoRoomForCode if answer["no_room"] else CodeError)(answer["error"])
        return Code(code, answer["python"])
    except (ValueError, KeyError, TypeError):
        if process.returncode == -signal.SIGKILL:
            raise NoRoomForCode(f"the process that prepares {code.source_dir} {KILLED}") from None
        raise CodeError(
            f"preparing {code.source_dir} ended with status {process.returncode}; the container's log says why"
        ) from None


def kill_orphans(group: int, run_dir: RunDir) -> None:
    """Kill what an earlier control's helper left; a group that got its number since then is left alone."""
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ours = os.getpgid(int(directory.name)) == group
            if ours and os.fsencode(run_dir) in (directory / "cmdline").read_bytes():
                kill_group(group)
                return


def kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
