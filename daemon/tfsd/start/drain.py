"""`serve --drain SECONDS`: what an orchestrator runs before it stops a container.

From then on `/readyz` says 503, so that whoever chooses among replicas chooses others; requests that come all the same
are answered. SIGTERM follows when whoever routes has had time to notice.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tfsd.run_dir import RunDir, RunDirError, replace


def drain(run_dir: RunDir, seconds: float, sleep: Callable[[float], None] = time.sleep) -> None:
    """Have the stack of a run directory say that it is not ready, and return after `seconds`.

    Raises RunDirError when no stack runs there, and OSError.
    """
    if not run_dir.has_stack():
        raise RunDirError(
            f"no stack is running in {run_dir} that could drain; --run-dir names another directory"
        )
    replace(run_dir.draining, "")
    sleep(seconds)
