"""Reloading over gRPC, in a process that forks meanwhile as control does."""

from __future__ import annotations

import os
import subprocess
import sys

from support.control import DAEMON

FORKING = """
import gevent, gevent.subprocess
from tfsd.control.models.reload import NotAnswering, Reloader
from tfsd.plan import ModelServer

reload = Reloader()

def reload_for_ever():
    while True:
        try:
            reload(ModelServer("m", 1, {port}), [], 5)
        except NotAnswering:
            gevent.sleep(0.01)

tasks = [gevent.spawn(reload_for_ever) for _ in range(8)]
gevent.sleep(0.5)
children = [gevent.subprocess.Popen(["true"]) for _ in range(30)]
print([child.wait() for child in children if child.wait()])
"""


def test_children_survive_while_grpc_is_at_work(free_port: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING.format(port=free_port)],
        env={**os.environ, "PYTHONPATH": str(DAEMON)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.stdout == "[]\n", done.stderr[-2000:]
