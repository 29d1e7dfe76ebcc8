"""A worker's signs of life and its end: the heartbeat file and SIGTERM."""

from __future__ import annotations

import json
import logging
import os
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

    Its content is what `report` returns, as JSON: requests in flight by model, the plan that is known, and
    the counts of captured requests. It is
    written when it changes; a full disk keeps it as it was, and does not stop the heartbeat.
    """

    def __init__(self, run_dir: RunDir, program: str, report: Callable[[], Mapping[str, object]]) -> None:
        self.path = run_dir.heartbeat(program)
        self._report = report
        self._written: str | None = None
        self._trouble = ""

    def start(self) -> None:
        """Beat every second from now on."""
        gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            trouble = ""
            try:
                self.beat()
            except OSError as error:
                trouble = str(error)
                if trouble != self._trouble:
                    log.error("Cannot write the heartbeat: %s.", error)
            self._trouble = trouble
            gevent.sleep(BEAT_SECONDS)

    def beat(self) -> None:
        """Beat once. Raises OSError when the content could not be written, having beaten all the same if it can."""
        text = json.dumps(self._report())
        try:
            if text != self._written:
                replace(self.path, text)
                self._written = text
        finally:
            try:
                os.utime(self.path)
            except FileNotFoundError:
                self._written = None
                raise


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
