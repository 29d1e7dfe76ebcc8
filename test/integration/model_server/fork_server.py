"""Runs many model servers out of one process that has imported TensorFlow once, by forking.

Reads JSON commands from stdin, a line each, and answers each with a line: {"flags": [...], "output": FILE} starts
a server and gives its process id, {"wait": PID} gives its exit code or, while it lives, null.
"""

from __future__ import annotations

import json
import os
import sys

from tfsd.model_server import __main__ as program
from tfsd.model_server import server as _tensorflow_is_loaded  # noqa: F401


def start(flags: list[str], output: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = program.FAILED
    try:
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        code = program.main(flags)
    finally:
        os._exit(code)


def wait(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def serve() -> None:
    for line in sys.stdin:
        command = json.loads(line)
        answer = wait(command["wait"]) if "wait" in command else start(command["flags"], command["output"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
