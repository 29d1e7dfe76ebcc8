"""The process that makes a model's code ready, while control goes on: the check of the script, or a helper
(`python -m tfsd.start.user_code`) that installs requirements before.

Owns its life: it never outlives the load that it works for, not even when control is killed meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import gevent.subprocess

from tfsd.model_directory import Code, UserCode
from tfsd.run_dir import RunDir
from tfsd.start import user_code
from tfsd.start.environments import KILLED, NoRoomError
from tfsd.start.user_code import ScriptError


class CodeError(Exception):
    """The model's code cannot be served; the text says why."""


class NoRoomForCode(CodeError):
    """There is too little memory or disk to make it ready."""


def prepare(code: UserCode, environment: Path, run_dir: RunDir, started: Callable[[int], None]) -> Code:
    """Install the requirements and check the script; `started` is told the process group that does it.

    Code without requirements is only checked, which needs no process between. Raises CodeError, or NoRoomForCode, which
    is one.
    """
    if code.requirements is None:
        command = user_code.check_command(sys.executable, code, run_dir.path)
        status, stdout, stderr = _run(command, run_dir, started, gevent.subprocess.PIPE)
        try:
            user_code.judge(code, status, stdout, stderr)
        except NoRoomError as error:
            raise NoRoomForCode(str(error)) from error
        except ScriptError as error:
            raise CodeError(str(error)) from error
        return Code(code, sys.executable)
    words = ["--source", str(code.source_dir), "--environment", str(environment)]
    command = [sys.executable, "-m", "tfsd.start.user_code", *words]
    status, stdout, _ = _run(command, run_dir, started, None)
    try:
        answer = json.loads(stdout)
        if "error" in answer:
            raise (NoRoomForCode if answer["no_room"] else CodeError)(answer["error"])
        return Code(code, answer["python"])
    except (ValueError, KeyError, TypeError):
        if status == -signal.SIGKILL:
            raise NoRoomForCode(f"the process that prepares {code.source_dir} {KILLED}") from None
        raise CodeError(
            f"preparing {code.source_dir} ended with status {status}; the container's log says why"
        ) from None


def _run(
    command: Sequence[str], run_dir: RunDir, started: Callable[[int], None], stderr: int | None
) -> tuple[int, bytes, bytes]:
    """The status of a process, its stdout, and its stderr when that is PIPE and not None, our own. It has a process
    group of its own, which ends with the greenlet that waits for it."""
    process = gevent.subprocess.Popen(
        command,
        cwd=run_dir,
        stdin=gevent.subprocess.DEVNULL,
        stdout=gevent.subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
    )
    try:
        started(process.pid)
        output, errors = process.communicate()
    except BaseException:
        kill_group(process.pid)
        process.wait()
        raise
    return process.returncode, output, errors or b""


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
