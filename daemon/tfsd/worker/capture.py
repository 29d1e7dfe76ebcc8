"""Capture of a sample of requests with their answers. nginx samples; a worker hands what it served to a thread.

Owns the backlog. No request ever waits for a disk: what the thread has not come to, beyond a bound, is not captured.
"""

from __future__ import annotations

import collections
import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
from gevent.event import Event
from gevent.threadpool import ThreadPool

from tfsd.capture_files import BACKLOG, DISK, FAILED, SIZE, TOO_SLOW, CaptureCounts, CaptureFiles
from tfsd.capture_format import Body, Invocation, line
from tfsd.errors import os_problem
from tfsd.worker.replies import Reply

SAMPLED = "HTTP_X_TFSD_SAMPLED"  # set by nginx
MAX_BODY_BYTES = 6 << 20  # what SageMaker takes in real time; a larger body is not captured
MAX_BACKLOG_BYTES = 32 << 20
COLLECT_SECONDS = 0.25  # what comes meanwhile is written together: a change of threads costs more than a line
CHUNK_BYTES = 16 << 10  # of lines in one write; in between, requests have the interpreter
CLOSE_SECONDS = 1.0


class Sampled:
    """A sampled request, whose body has been read; it is captured once it is answered."""

    def __init__(
        self,
        capture: Capture,
        environ: dict[str, Any],
        body: bytes,
        target_model: str | None,
        attributes: str | None,
    ) -> None:
        self._capture = capture
        self._request = Body(body, environ.get("CONTENT_TYPE"), environ.get("HTTP_CONTENT_ENCODING"))
        self._id = environ.get("HTTP_X_TFSD_REQUEST_ID")
        self._attributes = attributes
        self._target_model = target_model

    def answered(self, reply: Reply) -> None:
        """Hand the request and its answer over; of a stream, and of an answer that is too large, only the request."""
        response = None
        if isinstance(reply.body, bytes) and len(reply.body) <= MAX_BODY_BYTES:
            headers = {name.lower(): value for name, value in reply.headers}
            response = Body(reply.body, headers.get("content-type"), headers.get("content-encoding"))
        self._capture.take(
            Invocation(self._request, response, self._id, self._attributes, self._target_model)
        )


class Capture:
    """Writes invocations to files in a thread, in order; says at most once a minute how many were lost, and why."""

    def __init__(
        self,
        files: CaptureFiles,
        max_backlog_bytes: int = MAX_BACKLOG_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = files
        self._max_backlog_bytes = max_backlog_bytes
        self._waiting: list[tuple[Invocation, float]] = []
        self._bytes = 0
        self._wake, self._idle, self._hurry = Event(), Event(), Event()
        self.counts = CaptureCounts(clock)
        self._thread = ThreadPool(1)
        self._greenlet = gevent.spawn(self._run)

    def sample(
        self, environ: dict[str, Any], target_model: str | None, attributes: str | None
    ) -> Sampled | None:
        """Read the body of a request that nginx sampled, and leave a copy for whoever serves it; None for all others.

        `attributes` are its custom attributes. Raises OSError, or BodyCut: the body cannot be read.
        """
        if environ.get(SAMPLED) != "yes":
            return None
        length = environ.get("CONTENT_LENGTH") or "0"
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            self.counts.lose(SIZE, "the body has more than 6 MiB")
            return None
        body = environ["wsgi.input"].read()
        environ["wsgi.input"] = io.BytesIO(body)
        return Sampled(self, environ, body, target_model, attributes)

    def take(self, invocation: Invocation) -> None:
        """Have an invocation written soon, unless too much waits already."""
        size = _size(invocation)
        if self._bytes + size > self._max_backlog_bytes:
            self.counts.lose(BACKLOG, TOO_SLOW)
            return
        self._bytes += size
        self._waiting.append((invocation, time.time()))
        self._idle.clear()
        self._wake.set()

    def flush(self, seconds: float) -> None:
        """Wait until all that was taken is written, but not for longer."""
        if self._bytes:
            self._hurry.set()
            self._idle.wait(seconds)

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Flush, say what was lost since the last time, and stop."""
        self.flush(seconds)
        self.counts.report()
        self._greenlet.kill(block=False)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._hurry.wait(COLLECT_SECONDS)
            self._hurry.clear()
            self._wake.clear()
            waiting, self._waiting = self._waiting, []
            lost = self._thread.apply(self._write, (waiting,))
            self.counts.written += len(waiting) - lost.total()
            for (reason, text), count in lost.items():
                self.counts.lose(reason, text, count)
            self._bytes -= sum(_size(invocation) for invocation, _ in waiting)
            if not self._waiting:
                self._idle.set()

    def _write(self, waiting: list[tuple[Invocation, float]]) -> collections.Counter[tuple[str, str]]:
        """In the thread: write, and return how many could not be written, by reason and text."""
        lost: collections.Counter[tuple[str, str]] = collections.Counter()
        written = 0
        try:
            for lines, moment in _chunks(waiting):
                try:
                    self._files.append(lines, moment)
                except OSError as error:
                    lost[DISK, os_problem(error)] += len(lines)
                written += len(lines)
        except Exception as error:  # such as MemoryError: capture goes on with what comes next
            lost[FAILED, repr(error)] += len(waiting) - written
        return lost


def _chunks(waiting: list[tuple[Invocation, float]]) -> Iterator[tuple[list[str], float]]:
    """Lines that are written together, with the time of the last; one that is too large for that is alone."""
    lines: list[str] = []
    size, last = 0, 0.0
    for invocation, moment in waiting:
        text = line(invocation, moment)
        if lines and size + len(text) > CHUNK_BYTES:
            yield lines, last
            lines, size = [], 0
        lines.append(text)
        size += len(text)
        last = moment
    yield lines, last


def _size(invocation: Invocation) -> int:
    response = invocation.response
    return 1000 + len(invocation.request.data) + (len(response.data) if response is not None else 0)
