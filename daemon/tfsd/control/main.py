"""The command line of control: serve the control plane on the socket that supervisord hands us.

Owns the process: its arguments, its parts and its end. What renders metrics and what loads models takes as long to
import as all else; it is imported when it is asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import stat
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import gevent
import gevent.socket
from gevent.event import AsyncResult
from gevent.pywsgi import WSGIServer

from tfsd import logs, machine
from tfsd.control.app import make_app
from tfsd.control.health.health import Health
from tfsd.control.health.heartbeat_ages import STUCK_MARGIN_SECONDS, Heartbeats
from tfsd.control.health.idle_servers import IdleServers
from tfsd.control.health.last_verdict import LastVerdict
from tfsd.control.health.open_ports import OpenPorts
from tfsd.control.health.poller import Poller
from tfsd.control.health.probes import Startup, add_probes
from tfsd.control.health.stopped_supervisord import keep_going
from tfsd.control.health.taken_ports import TakenPorts
from tfsd.control.health.unloadable import UnloadableVersions
from tfsd.control.metrics.build_info import BuildInfo
from tfsd.control.metrics.direct_in_flight import DirectInFlight
from tfsd.control.metrics.large_answers import LargeAnswers
from tfsd.control.metrics.request_log import RequestLog, signal_nginx
from tfsd.control.metrics.saved_counters import Memory
from tfsd.control.models.requests_in_flight import requests_in_flight
from tfsd.control.page.page import Page
from tfsd.control.supervisor_client import Process, SupervisorClient
from tfsd.plan import Plan
from tfsd.run_dir import RunDir
from tfsd.settings import Settings
from tfsd.stack import slots
from tfsd.stack.model_server_flags import find_command, is_embedded
from tfsd.stop_times import stop_times

if TYPE_CHECKING:
    from tfsd.control.captures import Captures
    from tfsd.control.models.hosts import Hosts
    from tfsd.control.models.loading import Models
    from tfsd.control.models.programs import Programs

READ_SECONDS = 1.0
BREATH_SECONDS = 0.001

log = logging.getLogger(__name__)


def main() -> int:
    """Run until SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tfsd.control")
    parser.add_argument("--run-dir", type=Path, required=True, help="run directory of the stack")
    run_dir = RunDir(parser.parse_args().run_dir)
    settings = Settings.from_environ(os.environ)
    logs.setup("control", settings.log_level, form=settings.log_format)
    if not stat.S_ISSOCK(os.fstat(0).st_mode):
        print(
            "control: file descriptor 0 is not a socket; supervisord starts it with one ([fcgi-program:control]).",
            file=sys.stderr,
        )
        return 2
    return serve(run_dir, settings)


def serve(run_dir: RunDir, settings: Settings) -> int:
    """Poll and answer until SIGTERM or SIGINT; returns the exit code, 1 when a part of control broke."""
    silence_limit = settings.request_timeout + STUCK_MARGIN_SECONDS
    memory = Memory(run_dir)
    health = Health(
        Heartbeats(silence_limit, settings.load_timeout),
        time.monotonic,
        needs_models=not settings.multi_model,
        busy_limit=silence_limit,
        load_timeout=settings.load_timeout,
        observer=memory.loads,
    )
    supervisor = SupervisorClient(run_dir, stop_seconds=stop_times(settings).worker)
    seen: dict[str, Process] = {}

    def remember(processes: Mapping[str, Process]) -> None:
        seen.clear()
        seen.update(processes)

    programs = _programs(run_dir, supervisor, memory) if settings.multi_model else None
    hosts = _hosts(settings, run_dir, programs, memory) if programs else None
    idle_servers = IdleServers(
        health,
        supervisor,
        time.monotonic,
        patience=silence_limit,
        load_timeout=settings.load_timeout,
        start_stopped=settings.multi_model,
        put_back=(lambda program: gevent.spawn(hosts.put_back, program)) if hosts else None,
    )
    observers = [
        memory.restarts.processes_seen,
        remember,
        idle_servers.processes_seen,
        OpenPorts(health).processes_seen,
        TakenPorts(run_dir, lambda program: move(program)).processes_seen,
    ]
    if not settings.multi_model:
        observers.append(
            UnloadableVersions(run_dir, supervisor, health.available, health.errors).processes_seen
        )
    startup = Startup(run_dir)
    last_verdict = LastVerdict(run_dir, time.time)

    def judge(_: Mapping[str, Process]) -> None:
        startup.observe(health.missing())
        if poller.complete:
            last_verdict.note(health.missing())

    observers.append(judge)
    poller = Poller(run_dir, health, supervisor, memory.polls.poll, silence_limit, observers)

    models = (
        _models(settings, run_dir, hosts, programs, supervisor, memory, poller)
        if hosts and programs
        else None
    )

    def move(program: str) -> None:
        if models:
            models.move_server(program)
        else:
            from tfsd.control.models.relocation import move_server

            move_server(settings, run_dir, supervisor, program)

    def in_flight() -> Counter[str]:
        return requests_in_flight(run_dir, health.plan.pools.values() if health.plan else ())

    direct = DirectInFlight(memory.requests, time.monotonic)
    large = LargeAnswers(run_dir, time.monotonic)
    build = BuildInfo(find_command(settings, os.environ))
    page = Page(settings, run_dir, health, memory, poller.transitions, lambda: seen, in_flight, os.environ)

    def count(lines: Iterable[bytes]) -> None:
        memory.requests.add(
            lines, health.plan.models if health.plan else (), page.errors.failed, large.answered
        )

    captures = _captures(settings, run_dir, memory)

    def look() -> None:
        direct.look()
        if captures:
            captures.look(health.plan)
        large.look(slots.marks(health.plan) if health.plan else {})

    request_log = RequestLog(
        run_dir.request_log,
        memory.position,
        consume=count,
        reopen=lambda: signal_nginx(run_dir),
        save=memory.save,
        clock=time.monotonic,
    )

    def missing() -> list[str]:
        poller.wait_until_current()
        return last_verdict.missing(health.missing(), poller.complete)

    def metrics() -> bytes:
        from tfsd.control.metrics.page import memory_metrics, render, stack_metrics
        from tfsd.control.metrics.scrape import model_server_metrics
        from tfsd.control.models.capacity import free_memory

        own = stack_metrics(memory, health, in_flight(), direct.by_model(), run_dir.count_of_dropped_lines())
        memory_left = memory_metrics(free_memory(), machine.memory_bytes())
        return render(
            [
                *build.metrics(),
                *memory_left,
                *own,
                *(memory.captures.metrics() if captures else ()),
                *model_server_metrics(health.plan, memory.polls),
            ]
        )

    listener = gevent.socket.socket(fileno=os.dup(0))
    app = make_app(settings, missing, health.degraded, metrics)
    page.add_routes(app)
    add_probes(app, run_dir, startup, missing, health.degraded)
    server = WSGIServer(listener, app, log=None, error_log=log)
    ended = AsyncResult()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, ended.set, 0)
    poller.start(on_crash=lambda _: ended.set(1))
    if models:
        from tfsd.control.models.api import SocketHandler, add_routes

        models.recover()
        add_routes(app, models)
        server.handler_class = SocketHandler
    server.start()
    page.start(on_crash=lambda _: ended.set(1))
    gevent.spawn(keep_going).link_exception(lambda _: ended.set(1))
    gevent.spawn(_follow, request_log, memory, look).link_exception(lambda _: ended.set(1))
    code: int = ended.get()
    server.stop(timeout=0.5)
    if captures:
        captures.close(health.plan)
    with contextlib.suppress(OSError):
        memory.save(request_log.position)
    return code


def _captures(settings: Settings, run_dir: RunDir, memory: Memory) -> Captures | None:
    """What moves and counts captured requests, None when nothing is captured."""
    if settings.capture_dir is None or not settings.captures:
        return None
    from tfsd.capture_files import CaptureFiles
    from tfsd.control.captures import PROGRAM, Captures

    files = CaptureFiles(settings.capture_dir, PROGRAM, settings.capture_max_mb << 20)
    return Captures(run_dir, files, memory.captures, lambda: signal_nginx(run_dir), time.time, time.monotonic)


def _programs(run_dir: RunDir, supervisor: SupervisorClient, memory: Memory) -> Programs:
    """What a multi-model endpoint runs beside what it was started with."""
    from tfsd.control.models.programs import Programs

    return Programs(run_dir, supervisor, memory.forget_program)


def _hosts(settings: Settings, run_dir: RunDir, programs: Programs, memory: Memory) -> Hosts:
    """The model servers of a multi-model endpoint."""
    from tfsd.control.models.hosts import Hosts
    from tfsd.control.models.reload import Reloader

    command = find_command(settings, os.environ)
    gpus = machine.gpus(os.environ)
    places = Plan.load(run_dir).slots
    return Hosts(settings, run_dir, command, gpus, programs, Reloader(), memory.polls.poll, places)


def _models(
    settings: Settings,
    run_dir: RunDir,
    hosts: Hosts,
    programs: Programs,
    supervisor: SupervisorClient,
    memory: Memory,
    poller: Poller,
) -> Models:
    """The models of a multi-model endpoint; `recover` takes up what an earlier control left."""
    from tfsd.control.models.capacity import EMBEDDED_SERVER_BYTES, REAL_SERVER_BYTES
    from tfsd.control.models.failures import EXPECTED
    from tfsd.control.models.loading import Models

    command = find_command(settings, os.environ)
    server_bytes = EMBEDDED_SERVER_BYTES if is_embedded(command) else REAL_SERVER_BYTES
    models = Models(
        settings, run_dir, hosts, programs, supervisor, server_bytes, memory.forget, poller.read_plan
    )
    gevent.get_hub().NOT_ERROR += (
        EXPECTED  # no tracebacks of what a greenlet raises for the one that waits for it
    )
    return models


def _follow(request_log: RequestLog, memory: Memory, look: Callable[[], None]) -> None:
    """Count what nginx logs once a second, `look` at the counts, and save how far that went. A full disk stops none."""
    trouble = ""
    while True:
        try:
            while request_log.read_chunk():
                gevent.sleep(BREATH_SECONDS)  # not 0, which would let other greenlets run but no new ping in
            look()
            memory.save(request_log.position)
            trouble = ""
        except OSError as error:
            if str(error) != trouble:
                log.error("Cannot keep the counters of requests: %s.", error)
            trouble = str(error)
        gevent.sleep(READ_SECONDS)
