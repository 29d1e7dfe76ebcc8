"""What a cluster asks before it restarts a container, sends it requests, or judges it at all: `/livez`, `/readyz`,
`/startupz`.

Owns what the three mean. That control answers, through nginx, is all of `/livez`: whoever restarted a container since
one model fails would take the others' service away, and the reason with it. That the endpoint drains, or has been
healthy, is told by files in the run directory, so that a control that was restarted knows it too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from bottle import Bottle

from tfsd.control.app import health_response, json_response
from tfsd.run_dir import RunDir, replace

DRAINING = "it drains, and is about to be stopped"

log = logging.getLogger(__name__)


class Startup:
    """Whether the endpoint has been healthy since it was started. Once true, that stays, whatever becomes of it."""

    def __init__(self, run_dir: RunDir) -> None:
        self._mark = run_dir.started

    @property
    def done(self) -> bool:
        return self._mark.exists()

    def observe(self, missing: Sequence[str]) -> None:
        """Take what keeps the endpoint from being healthy now."""
        if missing or self.done:
            return
        try:
            replace(self._mark, "")
        except OSError as error:
            log.warning("Cannot note that the endpoint has been healthy: %s.", error)


def add_probes(
    app: Bottle,
    run_dir: RunDir,
    startup: Startup,
    missing: Callable[[], list[str]],
    degraded: Callable[[], list[str]],
) -> None:
    """Add the probes to control's application.

    `missing` returns what keeps the endpoint from being healthy, `degraded` what is left out of a healthy one.
    """

    @app.get("/livez")
    def livez() -> Any:
        return health_response([])

    @app.get("/readyz")
    def readyz() -> Any:
        problems = [DRAINING] if run_dir.draining.exists() else missing()
        return health_response(problems, degraded())

    @app.get("/v2/health/live")  # the Open Inference Protocol's, with SAGEMAKER_TFS_V2_API
    def v2_live() -> Any:
        return json_response(200, {"live": True})

    @app.get("/v2/health/ready")
    def v2_ready() -> Any:
        problems = [DRAINING] if run_dir.draining.exists() else missing()
        if problems:
            return json_response(503, {"ready": False, "error": "Not ready: " + "; ".join(problems)})
        return json_response(200, {"ready": True})

    @app.get("/startupz")
    def startupz() -> Any:
        problems = [] if startup.done else missing()
        startup.observe(problems)
        return health_response(problems)
