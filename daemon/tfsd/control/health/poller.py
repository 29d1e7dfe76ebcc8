"""Control's eyes: asks every model server and supervisord once a second and tells `Health` what they said.

Owns the greenlets, the re-reading of the plan and the restart of hung workers. It never judges: `Health` and
`Heartbeats` do.
"""

from __future__ import annotations

import dataclasses
import http.client
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import gevent
import gevent.event

from tfsd.control.connections import UnixConnection, fetch
from tfsd.control.health import heartbeat_ages
from tfsd.control.health.health import Health
from tfsd.control.health.model_status import NoStatusError, VersionStatus
from tfsd.control.health.transitions import Transitions
from tfsd.control.proc import cpu_seconds
from tfsd.control.supervisor_client import Process, SupervisorClient, SupervisorError
from tfsd.plan import ModelServer, Plan
from tfsd.run_dir import RunDir

INTERVAL = 1.0
EAGER_INTERVAL = 0.25  # while something is missing, so that start-up is noticed without delay
CURRENT_SECONDS = 3.0  # a poll this recent is worth answering from
PATIENCE = 1.5  # the longest wait for a poll; the platform gives /ping 2 s
KILL_AGAIN_SECONDS = 10.0
ANSWER_SECONDS = 1.0

Poll = Callable[[str, ModelServer, float], tuple[VersionStatus, ...]]

log = logging.getLogger(__name__)


@dataclasses.dataclass
class _Target:
    """One thing that is polled, and when (monotonic): `begun` while a poll is under way, `done` the last."""

    begun: float | None = None
    done: float | None = None

    def current(self, now: float) -> bool:
        recent = self.done is not None and now - self.done <= CURRENT_SECONDS
        return recent or (self.begun is not None and now - self.begun > PATIENCE)


class Poller:
    """Polls until stopped. `poll` asks a model server; `status_timeout` bounds (seconds) its answer.

    `observers` are called with the processes after each look at supervisord.
    """

    def __init__(
        self,
        run_dir: RunDir,
        health: Health,
        supervisor: SupervisorClient,
        poll: Poll,
        status_timeout: float,
        observers: Sequence[Callable[[Mapping[str, Process]], None]] = (),
    ) -> None:
        self._run_dir = run_dir
        self._health = health
        self._supervisor = supervisor
        self._poll = poll
        self._status_timeout = status_timeout
        self._observers = observers
        self._plan_stamp: tuple[int, int] | None = None
        self._plan_trouble = ""
        self.transitions = Transitions(time.monotonic)
        self._targets: dict[tuple[str, ModelServer], _Target] = {}
        self._greenlets: dict[tuple[str, ModelServer], gevent.Greenlet] = {}
        self._supervisor_target = _Target()
        self._killed: dict[int, float] = {}
        self._polled = gevent.event.Event()

    def start(self, on_crash: Callable[[gevent.Greenlet], None]) -> None:
        """Read the plan and start polling. `on_crash` is called with a greenlet that ended by an exception."""
        self._on_crash = on_crash
        self.read_plan()
        self._main = self._spawn(self._run)

    def stop(self) -> None:
        """Stop polling."""
        gevent.killall([self._main, *self._greenlets.values()])

    def _spawn(self, function: Callable[..., None], *arguments: object) -> gevent.Greenlet:
        greenlet = gevent.spawn(function, *arguments)
        greenlet.link_exception(self._on_crash)
        return greenlet

    def wait_until_current(self) -> None:
        """Return at once when the last polls are recent, else (just started, or frozen) after new ones.

        Waits for `PATIENCE` seconds at most.
        """
        with gevent.Timeout(PATIENCE, False):
            while not all(t.current(time.monotonic()) for t in self._decisive_targets()):
                self._polled.clear()
                self._polled.wait(0.1)

    def read_plan(self) -> None:
        """Take in `plan.json` when it has changed; a plan that cannot be read leaves the last one in force."""
        path = self._run_dir.plan
        try:
            status = path.stat()
            stamp = status.st_mtime_ns, status.st_ino
            if stamp == self._plan_stamp:
                return
            plan = Plan.load(self._run_dir)
        except (OSError, ValueError, KeyError, TypeError) as error:
            trouble = f"Cannot read {path}: {error!r}."
            if trouble != self._plan_trouble:
                log.error("%s", trouble)
            self._plan_trouble = trouble
            return
        self._plan_stamp, self._plan_trouble = stamp, ""
        self._health.set_plan(plan)
        self._watch_servers(plan)

    def _watch_servers(self, plan: Plan) -> None:
        servers = [(model.name, server) for model in plan.models.values() for server in model.servers]
        for key in self._greenlets.keys() - set(servers):
            self._greenlets.pop(key).kill(block=False)
            del self._targets[key]
        for key in servers:
            if key not in self._greenlets:
                self._targets[key] = _Target()
                self._greenlets[key] = self._spawn(self._poll_server, *key)

    def _decisive_targets(self) -> list[_Target]:
        """What the endpoint's health depends on: not on single models, in multi-model mode."""
        models = self._targets.values() if self._health.needs_models else ()
        return [self._supervisor_target, *models]

    def _interval(self) -> float:
        return EAGER_INTERVAL if self._health.missing() else INTERVAL

    def _poll_server(self, model: str, server: ModelServer) -> None:
        target, program = self._targets[model, server], server.program
        while True:
            target.begun = time.monotonic()
            try:
                statuses = self._poll(model, server, self._status_timeout)
                self._health.server_answered(model, program, statuses)
            except NoStatusError as error:
                self._health.server_failed(model, program, str(error))
            self._finish(target)
            gevent.sleep(max(self._interval(), self._health.poll_interval))

    @property
    def complete(self) -> bool:
        """Whether everything that decides about the endpoint's health has been asked, and has answered or failed."""
        return all(target.done is not None for target in self._decisive_targets())

    def _finish(self, target: _Target) -> None:
        target.begun, target.done = None, time.monotonic()
        self._polled.set()

    def _run(self) -> None:
        cpu_times: dict[str, float] = {}
        while True:
            self._supervisor_target.begun = time.monotonic()
            self.read_plan()
            try:
                processes = self._supervisor.processes()
                self._look_at(processes)
                cpu_times = self._notice_busy(processes, cpu_times)
            except SupervisorError as error:
                log.debug("%s", error)
            self._health.report_overdue()
            self.transitions.observe(self._health.missing(), self._health.degraded())
            self._finish(self._supervisor_target)
            gevent.sleep(self._interval())

    def _look_at(self, processes: Mapping[str, Process]) -> None:
        plan = self._health.plan
        sockets = {w.program: w.socket for pool in plan.pools.values() for w in pool.workers} if plan else {}
        shared = Counter(sockets.values())
        workers = list(sockets)
        self._health.processes_seen(processes, heartbeat_ages.modification_times(self._run_dir, workers))
        for program in workers:
            if program in processes:
                alone = shared[sockets[program]] == 1
                self._restart_if_hung(processes[program], Path(sockets[program]) if alone else None)
        for observer in self._observers:
            observer(processes)

    def _restart_if_hung(self, process: Process, socket: Path | None) -> None:
        """Have supervisord kill a worker whose hub is stuck: it ignores TERM, and is started again.

        One that answers on its own `socket` does not hang, whatever keeps its heartbeat from the disk.
        """
        now = time.monotonic()
        beats = self._health.heartbeats
        if not beats.hangs(process, now) or now - self._killed.get(process.pid, -1e9) < KILL_AGAIN_SECONDS:
            return
        if socket is not None and _answers(socket):
            beats.answered(process, time.monotonic())
            return
        self._killed = {pid: when for pid, when in self._killed.items() if now - when < KILL_AGAIN_SECONDS}
        self._killed[process.pid] = now
        silence = beats.silence(process, now)
        log.warning("%s (pid %d) hangs: no heartbeat for %.0f s; killing it for supervisord to restart.",
                    process.program, process.pid, silence)  # fmt: skip
        try:
            self._supervisor.signal(process, "KILL")
        except SupervisorError as error:
            log.error("Cannot restart %s: %s.", process.program, error)

    def _notice_busy(self, processes: Mapping[str, Process], before: dict[str, float]) -> dict[str, float]:
        """Note the model servers that hold our request and have used CPU time since the last look."""
        waiting = {
            server.program for (_, server), target in self._targets.items() if target.begun is not None
        }
        times = {p: cpu_seconds(processes[p].pid) for p in waiting if p in processes}
        for program, used in times.items():
            if used > before.get(program, used):
                self._health.server_busy(program)
        return times


def _answers(socket: Path) -> bool:
    try:
        fetch(UnixConnection(socket, ANSWER_SECONDS), "/ready")
    except (OSError, http.client.HTTPException):
        return False
    return True
