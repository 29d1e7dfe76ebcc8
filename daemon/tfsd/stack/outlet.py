"""Writing to a log that somebody may have stopped reading, without ever waiting for it.

A terminal after Ctrl-S or a stuck log driver would otherwise stop supervisord, which reads what all processes write,
and by and by these too. Owns a buffer and a thread for each descriptor; lines that do not fit are dropped and counted.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

BUFFER_BYTES = 1 << 20
REPORT_SECONDS = 1.0


class Outlet:
    """Writes to a descriptor. `dropped` lines so far are told to `report`, once a second at the most."""

    def __init__(
        self,
        descriptor: int,
        report: Callable[[int], None] = lambda _: None,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        self._descriptor = descriptor
        self._report = report
        self._limit = buffer_bytes
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._unsaid = 0
        self._reported_at = 0.0
        self._closed = False
        self._changed = threading.Condition()
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name=f"outlet-{descriptor}", daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        """Take whole lines, or drop them when there is no room. Never waits."""
        with self._changed:
            if self._size + len(data) > self._limit:
                lines = max(1, data.count(b"\n"))
                self.dropped += lines
                self._unsaid += lines
                self._tell()
                return
            self._pieces.append(data)
            self._size += len(data)
            self._changed.notify()

    def close(self, seconds: float) -> None:
        """Wait until all is written, `seconds` at the most."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(seconds)

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._reported_at >= REPORT_SECONDS:
            self._reported_at = now
            self._report(self.dropped)

    def _run(self) -> None:
        while (data := self._next()) is not None:
            try:
                while data:
                    data = data[self._write_some(data) :]
            except OSError:  # the reader has gone; there may be another one
                time.sleep(0.1)

    def _write_some(self, data: bytes) -> int:
        """Write what there is room for, once there is: whoever shares a terminal may have set O_NONBLOCK on it."""
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:
                writable = select.poll()
                writable.register(self._descriptor, select.POLLOUT)
                writable.poll()

    def _next(self) -> bytes | None:
        """All that is there, when there is something; None at the end."""
        with self._changed:
            while not self._pieces and not self._closed:
                self._changed.wait()
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._size = 0
            if self._unsaid:
                data += b"%d lines of the log were dropped here: nobody read them\n" % self._unsaid
                self._unsaid = 0
                self._report(self.dropped)
            return data or None
