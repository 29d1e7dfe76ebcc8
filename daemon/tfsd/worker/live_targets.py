"""The targets of a pool, by the plan as it is now.

Owns the following of `plan.json`, which control replaces at each load and unload in multi-model mode, and when it
leaves out a version that does not load. In multi-model mode a request sees the plan that is there when it arrives: a
look at the file costs three microseconds, and there is nobody to wait for. With models that stay, 10 ms may pass.
"""

from __future__ import annotations

import logging
import os
import time

from tfsd.errors import HttpError, NotFound
from tfsd.plan import Plan
from tfsd.run_dir import RunDir
from tfsd.worker.targets import Target, Targets
from tfsd.worker.upstream.client import ModelServers

LOOK_SECONDS = 0.01  # between two looks at the plan where models neither come nor go

log = logging.getLogger(__name__)


class Unreached(HttpError):
    """503: the workers that got the request ended, or could not be reached."""

    def __init__(self, model: str) -> None:
        message = (
            f"Both workers of model {model!r} that got this request ended or could not be reached; the container's "
            "log says why. They are being restarted; try again."
        )
        super().__init__(503, message, {"Retry-After": "1"})
        self.model = model


class LiveTargets:
    """The models whose pool it is, at any time. `servers` is kept up to date with the plan."""

    def __init__(self, run_dir: RunDir, pool: str, servers: ModelServers, multi_model: bool = False) -> None:
        self._multi_model = multi_model
        self._run_dir = run_dir
        self._plan_path = str(run_dir.plan)  # looked at for each request
        self._pool = pool
        self._servers = servers
        self._stamp: tuple[int, int] | None = None
        self._looked = 0.0
        self._take(Plan({}, {}))
        self.refresh()

    @property
    def generation(self) -> int:
        """That of the plan which was seen last."""
        return self._plan.generation

    def find(self, header: str | None, model_name: str | None = None) -> Target:
        """The target of a request, see `Targets.find`; `model_name` is the one that its path names, if it does.

        Raises NotFound for a model that is not loaded, Unreached for one that has workers of its own.
        """
        self._look()
        if model_name is None:
            return self._targets.find(header)
        self._check_loaded(model_name)
        return self._targets.find(header, model_name)

    def named(
        self, name: str, version: int | None = None, label: str | None = None, method: str | None = None
    ) -> Target:
        """The target of a request whose path names a model, see `Targets.named` and `find`."""
        self._look()
        if self._multi_model:
            self._check_loaded(name)
        return self._targets.named(name, version, label, method)

    @property
    def names(self) -> list[str]:
        """The models of all pools, by name."""
        self.refresh()
        return self._targets.names

    def _check_loaded(self, name: str) -> None:
        model = self._plan.models.get(name)
        if model is None:
            raise NotFound(f"Model {name} is not loaded yet. POST /models loads it.")
        if model.pool != self._pool:
            raise Unreached(model.name)

    def _look(self) -> None:
        now = time.monotonic()
        if self._multi_model or now - self._looked > LOOK_SECONDS:
            self._looked = now
            self.refresh()

    def refresh(self) -> None:
        """Take in the plan if it has changed; one that cannot be read leaves the last one in force."""
        try:
            status = os.stat(self._plan_path)
            stamp = status.st_mtime_ns, status.st_ino
            if stamp == self._stamp:
                return
            plan = Plan.load(self._run_dir)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.error("Cannot read %s: %r.", self._run_dir.plan, error)
            return
        self._stamp = stamp
        self._take(plan)

    def _take(self, plan: Plan) -> None:
        self._plan = plan
        self._servers.update(plan.models)
        self._targets = Targets(plan, self._pool, self._servers)
