"""Whether the endpoint is healthy (design, decision 6): what was last seen of model servers and workers.

Owns the state that `/ping` answers from, and the log lines about its changes. It never polls: what is seen is
handed in, with the clock.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from tfsd.control.health.heartbeat_ages import Heartbeats
from tfsd.control.health.model_status import AVAILABLE, END, VersionStatus
from tfsd.control.supervisor_client import Process
from tfsd.plan import DEFAULT_POOL, Model, Plan

FRESH_SECONDS = 5.0  # what was seen this long ago still holds: a process that is back by then was never away
NO_RESPONSE = "no response"
GONE = "gone"
MOVING = ("START", "LOADING", "UNLOADING")
MAX_POLLS_PER_SECOND = 20.0  # of a multi-model endpoint: thousands of models must not keep a CPU busy

log = logging.getLogger(__name__)


class StatusObserver(Protocol):
    """Is told what the model servers say of versions, when it changes."""

    def changed(self, model: str, program: str, status: VersionStatus) -> None: ...

    def gone(self, model: str, program: str, version: str) -> None: ...


@dataclasses.dataclass(frozen=True)
class VersionState:
    """What a model server said last of one version, and its error, "" if it has none."""

    model: str
    program: str
    version: str
    state: str
    error: str = ""


@dataclasses.dataclass
class ServerState:
    """What is known of one model server process. Times are of the clock, None when it never happened."""

    versions: dict[str, str] = dataclasses.field(default_factory=dict)  # version to state
    errors: dict[str, str] = dataclasses.field(default_factory=dict)  # version to error
    available_at: float | None = None
    answered_at: float | None = None
    busy_at: float | None = None
    trouble: str = "it has not been asked yet"

    def described(self, now: float) -> str:
        """Why it is not available, in words."""
        if self.answered_at is None or _fresh(self.answered_at, now):
            return self.trouble
        return f"no response for {now - self.answered_at:.0f} s"

    def available(self, now: float, busy_limit: float, fresh: float = FRESH_SECONDS) -> bool:
        """Whether it was AVAILABLE `fresh` seconds ago, or is too busy to say anything else.

        Status requests queue behind predictions in a model server, so one that computes while it holds our
        request is not dead; `busy_limit` seconds without an answer are too many all the same.
        """
        busy = _fresh(self.busy_at, now) and AVAILABLE in self.versions.values()
        limit = max(busy_limit, fresh) if busy else fresh
        return self.available_at is not None and now - self.available_at <= limit


class Health:
    """The last known state of everything that must be served.

    `busy_limit` is how long (seconds) a busy model server may leave its status unanswered, `load_timeout` how
    long a model may be unavailable before the log says so. With `needs_models` false (multi-model mode) the
    endpoint is healthy with no model at all, or with a dead one, as long as a worker of the default pool is alive:
    replacing the instance would take the other models away too.
    """

    def __init__(
        self,
        heartbeats: Heartbeats,
        clock: Callable[[], float],
        *,
        needs_models: bool,
        busy_limit: float,
        load_timeout: float,
        observer: StatusObserver | None = None,
    ) -> None:
        self._observer = observer
        self.heartbeats = heartbeats
        self.plan: Plan | None = None
        self._clock = clock
        self.needs_models = needs_models
        self._busy_limit = busy_limit
        self._load_timeout = load_timeout
        self._servers: dict[tuple[str, str], ServerState] = {}  # by model and program
        self._workers_alive_at: dict[str, float] = {}
        self._supervisor_at: float | None = None
        self._unavailable_since: dict[str, float] = {}
        self._reported: set[str] = set()

    def set_plan(self, plan: Plan) -> None:
        """Take what must be served from a new plan, keeping what is known of processes that stay."""
        self.plan = plan
        keys = [(model.name, server.program) for model in plan.models.values() for server in model.servers]
        self._servers = {key: self._servers.get(key, ServerState()) for key in keys}
        workers = {worker.program for pool in plan.pools.values() for worker in pool.workers}
        self._workers_alive_at = {p: at for p, at in self._workers_alive_at.items() if p in workers}
        self.heartbeats.forget_all_but(workers)
        now = self._clock()
        self._unavailable_since = {n: self._unavailable_since.get(n, now) for n in plan.models}
        self._reported &= set(plan.models)

    def server_answered(self, model: str, program: str, statuses: Sequence[VersionStatus]) -> None:
        """A model server said which versions it has."""
        server = self._servers.get((model, program))
        if server is None:
            return
        server.answered_at = self._clock()
        if any(status.state == AVAILABLE for status in statuses):
            server.available_at = server.answered_at
        server.errors = {
            status.version: status.error for status in statuses if status.error and status.state == END
        }
        self._change(model, program, {status.version: status for status in statuses})
        server.trouble = "; ".join(map(_described, statuses)) or "it has no version"

    def server_failed(self, model: str, program: str, reason: str) -> None:
        """A model server gave no status: it refused, hung up, or answered something else."""
        server = self._servers.get((model, program))
        if server is not None:
            self._change(model, program, {v: VersionStatus(v, NO_RESPONSE) for v in server.versions})
            server.busy_at = server.answered_at = None
            server.errors = {}
            server.trouble = reason

    def server_busy(self, program: str) -> None:
        """A model server holds our request and computes meanwhile."""
        for (_, busy), server in self._servers.items():
            if busy == program:
                server.busy_at = self._clock()

    def processes_seen(self, processes: Mapping[str, Process], beats: Mapping[str, float | None]) -> None:
        """What supervisord says of its processes, and the modification times of the heartbeats."""
        now = self._supervisor_at = self._clock()
        for program, modified in beats.items():
            process = processes.get(program)
            if process is not None and process.pid:
                self.heartbeats.observe(process, modified, now)
                if self.heartbeats.alive(process, now):
                    self._workers_alive_at[program] = now

    def missing(self) -> list[str]:
        """What keeps the endpoint from being healthy, a sentence each; empty when it is healthy."""
        if self.plan is None:
            return ["there is no plan.json in the run directory yet"]
        if not self.needs_models:
            return [] if self._alive(DEFAULT_POOL) else [f"no worker of pool {DEFAULT_POOL!r} is alive"]
        if not self.plan.models:
            return ["the plan has no model"]
        unavailable = [model for model in self.plan.models.values() if not self.available(model)]
        problems = [f"model {model.name!r} is not available ({self._reason(model)})" for model in unavailable]
        if not _fresh(self._supervisor_at, self._clock()):
            problems.append("supervisord does not answer")
        pools = sorted({model.pool for model in self.plan.models.values()})
        return problems + [f"no worker of pool {pool!r} is alive" for pool in pools if not self._alive(pool)]

    def degraded(self) -> list[str]:
        """What is left out of an endpoint that may be healthy all the same, a sentence each."""
        return [
            f"model {name!r} is served without version {version}: {reason}"
            for name, versions in self.left_out().items()
            for version, reason in versions.items()
        ]

    def left_out(self) -> dict[str, dict[str, str]]:
        """Versions that cannot be loaded, with the reason, of models that can be served."""
        found: dict[str, dict[str, str]] = {}
        for model in self.plan.models.values() if self.plan else ():
            refused = {**model.left_out, **(self.errors(model) if self.available(model) else {})}
            if refused:
                found[model.name] = refused
        return found

    def errors(self, model: Model) -> dict[str, str]:
        """The versions of a model that a model server, which goes on, could not load; and why."""
        found: dict[str, str] = {}
        for server in model.servers:
            found.update(self._server(model, server.program).errors)
        return found

    def available(self, model: Model) -> bool:
        """Whether a model server has a version of this model AVAILABLE."""
        now, fresh = self._clock(), FRESH_SECONDS + self.poll_interval
        return any(
            self._server(model, s.program).available(now, self._busy_limit, fresh) for s in model.servers
        )

    def at_work(self, model: Model, program: str) -> bool:
        """Whether a model server has a version of the model, gets one ready, or computes while it is asked."""
        server, now = self._server(model, program), self._clock()
        fresh = FRESH_SECONDS + self.poll_interval
        answers = server.answered_at is not None and now - server.answered_at <= fresh
        moving = answers and any(state in MOVING for state in server.versions.values())
        return moving or _fresh(server.busy_at, now) or server.available(now, self._busy_limit, fresh)

    def trouble(self, model: Model, program: str) -> str:
        """Why a model is not available on a model server, in words."""
        return self._server(model, program).described(self._clock())

    @property
    def poll_interval(self) -> float:
        """How many seconds to leave between two looks at one model, at the least."""
        return 0.0 if self.needs_models else len(self._servers) / MAX_POLLS_PER_SECOND

    def version_states(self) -> Iterator[VersionState]:
        """Every version that a model server has named."""
        for model in self.plan.models.values() if self.plan else ():
            for server in model.servers:
                known = self._server(model, server.program)
                for version, state in known.versions.items():
                    error = known.errors.get(version, "")
                    yield VersionState(model.name, server.program, version, state, error)

    def report_overdue(self) -> None:
        """Log each model that has been unavailable for longer than the load timeout, once each time."""
        now = self._clock()
        for model in self.plan.models.values() if self.plan else ():
            if self.available(model):
                self._unavailable_since[model.name] = now
                self._reported.discard(model.name)
            elif now - self._unavailable_since[model.name] > self._load_timeout:
                if model.name not in self._reported:
                    reason, limit = self._reason(model), self._load_timeout
                    log.error("Model %s is not available after %g s (%s).", model.name, limit, reason)
                self._reported.add(model.name)

    def _server(self, model: Model, program: str) -> ServerState:
        return self._servers.get((model.name, program), ServerState())

    def _alive(self, pool_name: str) -> bool:
        pool = self.plan.pools.get(pool_name) if self.plan else None
        now = self._clock()
        return pool is not None and any(
            _fresh(self._workers_alive_at.get(worker.program), now) for worker in pool.workers
        )

    def _reason(self, model: Model) -> str:
        """Why a model is not available, in words."""
        if model.unloadable:
            return f"it cannot be loaded: {model.unloadable}"
        now = self._clock()
        said = "; ".join(
            f"{s.program}: {self._server(model, s.program).described(now)}" for s in model.servers
        )
        return said or "the plan names no model server for it"

    def _change(self, model: str, program: str, statuses: dict[str, VersionStatus]) -> None:
        server = self._servers[model, program]
        for version in sorted({*server.versions, *statuses}):
            status = statuses.get(version, VersionStatus(version, GONE))
            old = server.versions.get(version, "unknown")
            if old == status.state:
                continue
            error = f" ({status.error})" if status.error else ""
            log.info(
                "Model %s version %s on %s: %s -> %s%s.", model, version, program, old, status.state, error
            )
            if self._observer and status.state in (GONE, NO_RESPONSE):
                self._observer.gone(model, program, version)
            elif self._observer:
                self._observer.changed(model, program, status)
        server.versions = {version: status.state for version, status in statuses.items()}


def _described(status: VersionStatus) -> str:
    return f"version {status.version} is {status.state}" + (f" ({status.error})" if status.error else "")


def _fresh(moment: float | None, now: float) -> bool:
    return moment is not None and now - moment <= FRESH_SECONDS
