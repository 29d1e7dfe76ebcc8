"""What the workers say in their heartbeat files: requests in flight by model, and the plan that they know.

Reads the workers' heartbeat files; the files' ages are `heartbeat_ages`'.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable

import gevent

from tfsd.control.supervisor_client import SupervisorClient, SupervisorError
from tfsd.plan import Pool
from tfsd.run_dir import RunDir

POLL_SECONDS = 0.1
SUPERVISOR_SECONDS = 1.0


def requests_in_flight(run_dir: RunDir, pools: Iterable[Pool]) -> Counter[str]:
    """The requests that workers are answering, by model, as of a second ago."""
    total: Counter[str] = Counter()
    for pool in pools:
        for worker in pool.workers:
            total.update(_report(run_dir, worker.program)[1])
    return total


def wait_until_idle(
    model: str, pool: Pool, generation: int, run_dir: RunDir, supervisor: SupervisorClient, limit: float
) -> bool:
    """Wait until no worker of the pool has a request for a model that left the plan with `generation`.

    Returns False when one still has after `limit` seconds. A worker that does not run, or has not begun to serve
    since its last start, has none.
    """
    end = time.monotonic() + limit
    busy = [worker.program for worker in pool.workers]
    looked = 0.0
    while True:
        busy = [program for program in busy if not _idle(model, generation, run_dir, program)]
        if busy and time.monotonic() - looked > SUPERVISOR_SECONDS:
            looked = time.monotonic()
            busy = _serving(busy, run_dir, supervisor)
        if not busy or time.monotonic() > end:
            return not busy
        gevent.sleep(POLL_SECONDS)


def _idle(model: str, generation: int, run_dir: RunDir, program: str) -> bool:
    known, in_flight = _report(run_dir, program)
    return known >= generation and not in_flight.get(model)


def _serving(programs: list[str], run_dir: RunDir, supervisor: SupervisorClient) -> list[str]:
    """Those that run and have beaten since their start."""
    try:
        processes = supervisor.processes()
    except SupervisorError:
        return programs
    return [
        program
        for program in programs
        if (process := processes.get(program)) and process.pid and _beaten(run_dir, program, process.start)
    ]


def _beaten(run_dir: RunDir, program: str, start: int) -> bool:
    try:
        return run_dir.heartbeat(program).stat().st_mtime >= start
    except OSError:
        return False


def _report(run_dir: RunDir, program: str) -> tuple[int, dict[str, int]]:
    try:
        document = json.loads(run_dir.heartbeat(program).read_text())
        return int(document["plan"]), dict(document["in_flight"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1, {}
