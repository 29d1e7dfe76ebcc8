"""The stack as a child process of bin/local, in a session of its own: waited for, stopped, swept."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

import requests

from tfsd.local.output import pass_on
from tfsd.local.sessions import end_session
from tfsd.plan import Plan
from tfsd.run_dir import RunDir

STOP_SECONDS = 30  # as the platform: SIGTERM, then SIGKILL (contract section 1)
POLL_SECONDS = 0.2
PING_SECONDS = 2.0


class Child:
    """The stack's process and, as its session, everything that it starts.

    What they print is passed on, without notices unless `verbose`. `stop_seconds` pass between SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        run_dir: RunDir,
        *,
        verbose: bool,
        stop_seconds: float,
    ) -> None:
        self._stop_seconds = stop_seconds
        self.stopping = 0
        self.trouble = "it has not answered yet"
        self._run_dir = run_dir
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)
        pipe = None if verbose else subprocess.PIPE
        self.process = subprocess.Popen(
            command, env=environ, start_new_session=True, stdout=pipe, stderr=pipe
        )
        pairs = ((self.process.stdout, sys.stdout.buffer), (self.process.stderr, sys.stderr.buffer))
        self._output = [pass_on(source, target) for source, target in pairs if source is not None]

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """The first signal stops the stack, which drains; the second kills it."""
        self.stopping += 1
        if self.stopping == 1:
            print("bin/local: stopping; once more to kill.", file=sys.stderr, flush=True)
        self._signal(signal.SIGTERM if self.stopping == 1 else signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def wait_for_health(self, url: str, seconds: float, tell: Callable[[str], None]) -> bool:
        """Whether /ping at `url` answered 200 within `seconds` while the process lived and nobody wanted to stop.

        Nothing is asked before the process is supervisord, which has the port by then: whatever answers earlier is
        another's. `tell` is called with each trouble that /ping names for longer than PING_SECONDS, and `trouble`
        keeps the last.
        """
        end = time.monotonic() + seconds
        since, told = time.monotonic(), ""
        while time.monotonic() < end and self.process.poll() is None and not self.stopping:
            trouble = self._ping(url) if self.is_supervisord() else self.trouble
            if trouble is None:
                return True
            if given_up := self._given_up():
                self.trouble = given_up
                return False
            if trouble != self.trouble:
                since, self.trouble = time.monotonic(), trouble
            elif trouble != told and "cannot" in trouble and time.monotonic() - since > PING_SECONDS:
                told = trouble
                tell(trouble)
            time.sleep(POLL_SECONDS)
        return False

    def _ping(self, url: str) -> str | None:
        """What /ping says is missing; None when nothing is."""
        try:
            response = requests.get(url, timeout=PING_SECONDS)
            if response.status_code == 200:
                return None
            missing = response.json()["missing"]
            return "; ".join(map(str, missing))
        except requests.Timeout:
            return "/ping does not answer"
        except (requests.RequestException, KeyError, TypeError, ValueError):
            return self.trouble  # nginx or control is not there yet, and says nothing new

    def _given_up(self) -> str:
        """Why a model will not be served, once none of its versions could be loaded; else empty."""
        if not self.is_supervisord():
            return ""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            for model in Plan.load(self._run_dir).models.values():
                if model.unloadable:
                    return f"model {model.name!r} cannot be loaded: {model.unloadable}"
        return ""

    def is_supervisord(self) -> bool:
        """Whether the process has come as far as to be the supervisord of the run directory."""
        with contextlib.suppress(OSError, ValueError):
            return int(self._run_dir.supervisord_pid.read_text()) == self.process.pid
        return False

    def end(self) -> int:
        """Stop the stack ourselves; returns its exit status."""
        self.stopping = max(self.stopping, 1)
        self._signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end; after a signal not longer than `stop_seconds`. 0 when we were told to stop."""
        while not self.stopping:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(0.5)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(self._stop_seconds)
        return 0

    def sweep(self) -> None:
        """Kill what a killed supervisord has left behind: every process of its session. Its sockets go too."""
        end_session(self.process.pid)
        if self.is_supervisord() or not self._run_dir.supervisor_socket.exists():
            self._run_dir.remove_sockets()
        for thread in self._output:
            thread.join(1)
