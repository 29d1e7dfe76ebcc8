"""The command line of the worker: serve a pool.

Owns the wiring of a worker's parts. The standard library is already patched for gevent (`__main__`).
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfsd import logs
from tfsd.plan import Plan, Pool
from tfsd.protos import packages
from tfsd.run_dir import RunDir
from tfsd.settings import Settings
from tfsd.stop_times import KILL_MARGIN, stop_times
from tfsd.worker import script
from tfsd.worker.app import Application, Invocations
from tfsd.worker.call import Api
from tfsd.worker.conversion.content_encoding import Inflater
from tfsd.worker.error_reports import ErrorReports
from tfsd.worker.in_flight import InFlight
from tfsd.worker.lifecycle import Heartbeat, stop_on_sigterm
from tfsd.worker.live_targets import LiveTargets
from tfsd.worker.modes import mode_of
from tfsd.worker.server import Server, inherited_listener
from tfsd.worker.upstream import grpc_gevent, requests_import
from tfsd.worker.upstream.client import ModelServers

if TYPE_CHECKING:
    from tfsd.worker.capture import Capture

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    settings = Settings.from_environ(os.environ)
    logs.setup(options.worker, settings.log_level, form=settings.log_format)
    plan = Plan.load(options.run_dir)
    return serve(plan, plan.pools[options.pool], options.worker, options.run_dir, settings)


def serve(plan: Plan, pool: Pool, program: str, run_dir: RunDir, settings: Settings) -> int:
    """Serve `pool` on the listening socket that is file descriptor 0, until SIGTERM."""
    drain = stop_times(settings).worker_drain
    stop = stop_on_sigterm(drain + KILL_MARGIN)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    listener = inherited_listener(_take_stdin())
    servers = ModelServers(plan.models, patience=0 if settings.multi_model else None)
    requests_import.install(servers, settings.request_timeout)
    sys.dont_write_bytecode = True  # nothing is written beside the user's modules
    _print_by_lines()
    packages.install(pool.python_path)
    grpc_gevent.install()
    try:
        loaded = script.load(Path(pool.script), pool.python_path) if pool.script else None
    except script.ScriptError as error:
        log.error("The script of pool %s cannot be used: %s", pool.name, error)
        return 1
    except (Exception, SystemExit) as error:
        log.error(
            "%s does not import: %r.", pool.script, error, exc_info=script.in_script(error, pool.script)
        )
        return 1
    signal.signal(signal.SIGTERM, on_sigterm)  # the script's own would end what is in flight
    inflater = Inflater(settings.max_inflated_mb << 20)
    mode = mode_of(loaded, settings, inflater)
    targets = LiveTargets(run_dir, pool.name, servers, settings.multi_model)
    apis: list[Api] = []
    if settings.rest_api:
        code = None if loaded is None and not settings.python_endpoint else mode
        from tfsd.worker.rest_api import RestApi

        apis.append(RestApi(targets, code, inflater, settings.multi_model))
    if settings.v2_api:
        from tfsd.worker.v2.api import V2Api  # with gRPC and numpy

        apis.append(V2Api(targets, inflater, settings.request_timeout))
    in_flight = InFlight()
    capture = _capture(settings, program)
    invocations = Invocations(
        targets, mode, settings.request_timeout, in_flight, ErrorReports(run_dir), capture
    )
    shared = len(pool.workers) > len({worker.socket for worker in pool.workers})
    server = Server(listener, Application(invocations, settings.multi_model, apis), in_flight, shared=shared)
    server.start()
    if loaded is not None:
        gc.collect()
        gc.freeze()  # user code may have imported a million objects, which no later collection needs to visit

    def report() -> dict[str, object]:
        targets.refresh()
        said: dict[str, object] = {"in_flight": in_flight.counts, "plan": targets.generation}
        if capture is not None:
            said["captures"] = capture.counts.to_document()
        return said

    heartbeat = Heartbeat(run_dir, program, report)
    heartbeat.start()  # not earlier: the first beat tells control that requests are served
    log.info("Ready: pool %s, %s.", pool.name, loaded.style if loaded else "no user code")
    stop.wait()
    log.info("Stopping with %d requests in flight.", server.in_flight)
    unfinished = server.drain(drain)
    if unfinished:
        log.error("%d requests did not finish within %g s and are cut off.", unfinished, drain)
    if capture is not None:
        capture.close()
        with contextlib.suppress(OSError):
            heartbeat.beat()  # control counts what was written last
    return 0


def _capture(settings: Settings, program: str) -> Capture | None:
    """What captures requests; None when nothing is captured."""
    if settings.capture_dir is None or not settings.captures:
        return None
    from tfsd.capture_files import CaptureFiles
    from tfsd.worker.capture import Capture

    return Capture(CaptureFiles(settings.capture_dir, program, settings.capture_max_mb << 20))


def _print_by_lines() -> None:
    """What user code prints is logged at once: where stdout is no terminal, Python would keep up to 8 kB back."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)


def _take_stdin() -> int:
    """Move file descriptor 0 to another one and leave /dev/null there, for user code and its children."""
    taken = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return taken


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tfsd.worker", description=__doc__)
    parser.add_argument("--run-dir", type=lambda path: RunDir(Path(path)), help="run directory of the stack")
    parser.add_argument("--pool", help="the pool's name in the plan")
    parser.add_argument("--worker", help="this process's program name")
    return parser
