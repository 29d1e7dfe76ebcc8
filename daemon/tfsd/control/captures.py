"""Captured requests of the direct route: nginx logs them in the run directory, control moves them where captures lie.

Owns that log: it is followed, rotated and cut. All of it happens in a thread, since the directory's disk may be slow;
what waits meanwhile is bounded.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import gevent
from gevent.threadpool import ThreadPool

from tfsd.capture_files import BACKLOG, DISK, FAILED, TOO_SLOW, CaptureCounts, CaptureFiles
from tfsd.control.metrics.capture_totals import CaptureTotals
from tfsd.control.metrics.request_log import Position, RequestLog
from tfsd.errors import os_problem
from tfsd.plan import Plan
from tfsd.run_dir import RunDir

PROGRAM = "nginx"
LINE_BYTES = 16 << 20  # a line has a request of 1 MB and a response of 6 MiB at the most, and their escapes
WRITE_BYTES = 256 << 10  # of lines in one write
ROTATE_BYTES = 4 << 20
MAX_BACKLOG_BYTES = 64 << 20
CLOSE_SECONDS = 1.0
NOT_MOVED = "nginx's log of them was full"
FROM_THE_BEGINNING = Position(-1, 0)
BEGINNING, END = b'{"captureData": {', b'"eventVersion": "0"}'
NO_ATTRIBUTES = b'"customAttributes": [""], '
NO_RESPONSE = re.compile(
    rb', "endpointOutput": \{"observedContentType": "[^"]*", "mode": "OUTPUT", "data": "", "encoding": "-"\}'
)


class Captures:
    """Moves lines whenever `look` is called; `totals` counts them, and what the workers say that they captured."""

    def __init__(
        self,
        run_dir: RunDir,
        files: CaptureFiles,
        totals: CaptureTotals,
        reopen: Callable[[], None],
        wall_clock: Callable[[], float],
        clock: Callable[[], float],
        max_backlog_bytes: int = MAX_BACKLOG_BYTES,
    ) -> None:
        """`reopen` has nginx open its logs anew, `wall_clock` gives Unix time."""
        self._run_dir = run_dir
        self._files = files
        self._totals = totals
        self._wall_clock = wall_clock
        self._max_backlog_bytes = max_backlog_bytes
        self._counts = CaptureCounts()
        self._log = RequestLog(
            run_dir.capture_log,
            totals.position or FROM_THE_BEGINNING,
            self._write,
            reopen,
            lambda _: None,
            clock,
            ROTATE_BYTES,
            LINE_BYTES,
        )
        self._was_cut = False
        self._thread = ThreadPool(1)
        self._moving: gevent.Greenlet[[], OSError | None] = gevent.spawn(lambda: None)

    def look(self, plan: Plan | None) -> None:
        """Begin to move what has come, unless the last time is not over; count what was written and lost so far.

        Raises OSError when nginx's log cannot be read; the next look tries again.
        """
        self._count_dropped()
        self._count(plan)
        if self._moving.ready():
            trouble = self._moving.value
            self._totals.position = self._log.position
            self._moving = gevent.spawn(self._move)
            if trouble is not None:
                raise trouble
        elif self._waiting() > self._max_backlog_bytes:
            self._cut()

    def close(self, plan: Plan | None, seconds: float = CLOSE_SECONDS) -> None:
        """Move the last lines, for so long at the most, and count."""
        with gevent.Timeout(seconds, False):
            self._moving.join()
            self._move()
            self._totals.position = self._log.position
        self._count_dropped()
        self._counts.report()
        self._count(plan)

    def _move(self) -> OSError | None:
        trouble: OSError | None = self._thread.apply(self._read)
        return trouble

    def _read(self) -> OSError | None:
        """In the thread. Returns what went wrong with the log itself."""
        try:
            while True:
                if self._was_cut:
                    self._was_cut = False
                    self._log.rewind()
                if not self._log.read_chunk():
                    break
        except OSError as error:
            return error
        return None

    def _write(self, lines: Sequence[bytes]) -> None:
        """In the thread."""
        whole = [line for line in lines if line.startswith(BEGINNING) and line.endswith(END)]
        if len(whole) < len(lines):  # nginx's disk was full, or the log was cut
            self._counts.lose(FAILED, "lines of nginx's log are damaged", len(lines) - len(whole))
        for piece, count in _pieces(whole):
            try:
                self._files.write(piece, self._wall_clock())
                self._counts.written += count
            except OSError as error:
                self._counts.lose(DISK, os_problem(error), count)

    def _waiting(self) -> int:
        try:
            return self._run_dir.capture_log.stat().st_size
        except OSError:
            return 0

    def _cut(self) -> None:
        """Drop what waits: nginx appends, so its next line is the first one."""
        lost = 0
        with self._run_dir.capture_log.open("rb") as file:
            while data := file.read(1 << 20):
                lost += data.count(b"\n")
                gevent.sleep(0.001)
        position = self._log.position
        self._was_cut = position is not None and position.inode == self._run_dir.capture_log.stat().st_ino
        os.truncate(self._run_dir.capture_log, 0)
        self._counts.lose(BACKLOG, TOO_SLOW, lost)

    def _count_dropped(self) -> None:
        """What nginx did not log, while no control moved its lines. It opens the file for each byte."""
        dropped = self._run_dir.dropped_captures
        taken = dropped.with_name(f"{dropped.name}.taken")
        try:
            dropped.rename(taken)
            self._counts.lose(BACKLOG, NOT_MOVED, taken.stat().st_size)
            taken.unlink()
        except FileNotFoundError:
            pass

    def _count(self, plan: Plan | None) -> None:
        self._totals.heard(PROGRAM, self._counts.to_document())
        if plan is not None:
            workers = {worker.program for pool in plan.pools.values() for worker in pool.workers}
            self._totals.forget_all_but({PROGRAM, *workers})
            for worker in sorted(workers):
                self._totals.heard(worker, self._said(worker))

    def _said(self, program: str) -> dict[str, object]:
        """What a worker's heartbeat file has about captures."""
        try:
            document = json.loads(self._run_dir.heartbeat(program).read_text())
            return dict(document["captures"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}


def _pieces(lines: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """Lines that are written together, with their ends, and how many they are."""
    waiting: list[bytes] = []
    size = 0
    for line in lines:
        if waiting and size + len(line) > WRITE_BYTES:
            yield tidy(waiting), len(waiting)
            waiting, size = [], 0
        waiting.append(line)
        size += len(line)
    if waiting:
        yield tidy(waiting), len(waiting)


def tidy(lines: list[bytes]) -> bytes:
    """nginx's lines in the form of `capture_format`, each with its end: what is empty is left out, and all is UTF-8.

    A quotation mark inside a value is escaped, so that nothing which a client sent can look like what is left out.
    """
    data = b"\n".join(lines) + b"\n"
    if NO_ATTRIBUTES in data:
        data = data.replace(NO_ATTRIBUTES, b"")
    if b'"encoding": "-"' in data:
        data = NO_RESPONSE.sub(b"", data)
    if not data.isascii():
        data = data.decode("utf-8", "replace").encode()
    return data
