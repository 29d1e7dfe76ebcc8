"""A worker's signs of life and its end: the heartbeat file and SIGTERM."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

import gevent
from gevent.event import Event

BEAT_SECONDS = 1.0
DRAIN_SECONDS = 10.0
STUCK_SECONDS = 12  # after SIGTERM; a little more than draining takes

log = logging.getLogger(__name__)


class Heartbeat:
    """The file whose modification time says that the worker's event loop turned just then.

    Its content is what `report` returns, as JSON: requests in flight by model, and the plan that is known.
    """

    def __init__(self, run_dir: Path, program: str, report: Callable[[], Mapping[str, object]]) -> None:
        self.path = run_dir / "heartbeats" / program
        self._partial = self.path.with_name(f".{program}")
        self._report = report

    def start(self) -> None:
        """Beat every second from now on."""
        self.path.parent.mkdir(exist_ok=True)
        gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            try:
                self._partial.write_text(json.dumps(self._report()))
                self._partial.replace(self.path)
            except OSError as error:  # a full disk must not end the heartbeat for good
                log.error("heartbeat: %s", error)
            gevent.sleep(BEAT_SECONDS)


def stop_on_sigterm() -> Event:
    """An event that SIGTERM sets. If the process still runs some time later, the kernel ends it, even when
    user code never returns to the event loop."""
    stop = Event()
    wake = gevent.get_hub().loop.async_()
    wake.start(stop.set)

    def on_sigterm(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(STUCK_SECONDS)
        wake.send()

    signal.signal(signal.SIGTERM, on_sigterm)
    return stop
