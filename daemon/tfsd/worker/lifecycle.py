"""A worker's signs of life and its end: the heartbeat file and SIGTERM."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable, Mapping
from types import FrameType

import gevent
from gevent.event import Event

from tfsd.run_dir import RunDir, replace

BEAT_SECONDS = 1.0

log = logging.getLogger(__name__)


class Heartbeat:
    """The file whose modification time says that the worker's event loop turned just then.

    Its content is what `report` returns, as JSON: requests in flight by model, and the plan that is known.
    """

    def __init__(self, run_dir: RunDir, program: str, report: Callable[[], Mapping[str, object]]) -> None:
        self.path = run_dir.heartbeat(program)
        self._report = report

    def start(self) -> None:
        """Beat every second from now on."""
        gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            try:
                replace(self.path, json.dumps(self._report()))
            except OSError as error:  # a full disk must not end the heartbeat for good
                log.error("heartbeat: %s", error)
            gevent.sleep(BEAT_SECONDS)


def stop_on_sigterm(seconds: int) -> Event:
    """An event that SIGTERM sets. If the process still runs `seconds` later, the kernel ends it, even when
    user code never returns to the event loop."""
    stop = Event()
    wake = gevent.get_hub().loop.async_()
    wake.start(stop.set)

    def on_sigterm(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
        wake.send()

    signal.signal(signal.SIGTERM, on_sigterm)
    return stop
