"""The files of captured requests: `YYYY/MM/DD/HH/PROGRAM-MM.jsonl`, within a bound that all programs keep together.

Owns names, sizes and what is deleted, and the counts of what is written and lost. A write may block, so `CaptureFiles`
runs in a thread of its own.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

FILES = "/".join(("[0-9]" * 4, *["[0-9]" * 2] * 3, "*.jsonl"))
FILES_IN_BOUND = 64  # so much of the bound is one file at the most
REPORT_SECONDS = 60.0
SIZE, BACKLOG, DISK, FAILED = "size", "backlog", "disk", "failed"  # why requests were not captured
TOO_SLOW = "the disk is too slow"
KEPT = 3 / 4  # of the bound, when room is made: the rest is for the files that are being written meanwhile


log = logging.getLogger(__name__)


class CaptureCounts:
    """How many sampled requests were `written`, and how many `lost` for each reason, since this process began.

    The log has the losses as well, once a minute at the most.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._since = time.time_ns()
        self.written = 0
        self.lost: collections.Counter[str] = collections.Counter()
        self._clock = clock
        self._unsaid: collections.Counter[str] = collections.Counter()
        self._report_at = 0.0

    def lose(self, reason: str, text: str, count: int = 1) -> None:
        """So many were lost for `reason`, one of those above; `text` is what the log says of it."""
        self.lost[reason] += count
        self._unsaid[text] += count
        now = self._clock()
        if now >= self._report_at:
            self._report_at = now + REPORT_SECONDS
            self.report()

    def report(self) -> None:
        """Say now what was lost since the last time."""
        for text, number in self._unsaid.items():
            log.warning("%d sampled requests were not captured: %s.", number, text)
        self._unsaid.clear()

    def to_document(self) -> dict[str, object]:
        """The counts, as JSON-able values, with the time (Unix, ns) by which they are told from another process's."""
        return {"since": self._since, "written": self.written, "lost": dict(self.lost)}


class CaptureFiles:
    """Appends lines to files of one program below `directory`; `max_bytes` is what all files there may have."""

    def __init__(self, directory: Path, program: str, max_bytes: int) -> None:
        self._directory = directory
        self._program = program
        self._max_bytes = max_bytes
        self._file_bytes = max_bytes // FILES_IN_BOUND
        self._descriptor: int | None = None
        self._folder: Path | None = None
        self._size = 0

    def append(self, lines: Sequence[str], moment: float) -> None:
        """Write lines of the time `moment` (Unix) at once. Raises OSError; then nothing of them stays in the file."""
        self.write("".join(f"{line}\n" for line in lines).encode(), moment)

    def write(self, data: bytes, moment: float) -> None:
        """The same for lines that are one piece, each with its end."""
        if len(data) > self._max_bytes * (1 - KEPT):
            raise OSError(
                errno.EFBIG, f"{len(data)} bytes are more than a quarter of SAGEMAKER_TFS_CAPTURE_MAX_MB"
            )
        folder = self._directory / time.strftime("%Y/%m/%d/%H", time.gmtime(moment))
        descriptor = self._file(folder, len(data), moment)
        try:
            _write(descriptor, data)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, self._size)
            error.filename = str(self._directory)
            raise
        self._size += len(data)

    def close(self) -> None:
        """Close the file that is open; the next line opens one again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _file(self, folder: Path, wanted: int, moment: float) -> int:
        """The open file for so many bytes more: the one of the last line, as long as it may grow and is there."""
        if self._descriptor is not None:
            deleted = os.fstat(self._descriptor).st_nlink == 0
            if not deleted and folder == self._folder and self._size + wanted <= self._file_bytes:
                return self._descriptor
            self.close()
        self._make_room(max(wanted, self._file_bytes))
        folder.mkdir(parents=True, exist_ok=True)
        minute = time.strftime("%M", time.gmtime(moment))
        for number in itertools.count():
            path = folder / f"{self._program}-{minute}{f'-{number}' if number else ''}.jsonl"
            self._size = path.stat().st_size if path.exists() else 0
            if not self._size or self._size + wanted <= self._file_bytes:
                break
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._folder = folder
        return self._descriptor

    def _make_room(self, wanted: int) -> None:
        """Delete the oldest files, whoever wrote them, until so many bytes fit."""
        files = sorted(_sizes(self._directory.glob(FILES)))
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total + wanted <= self._max_bytes * KEPT:
                return
            path.unlink(missing_ok=True)
            total -= size
            with contextlib.suppress(OSError):  # they are not empty
                for folder in list(path.parents)[:4]:
                    folder.rmdir()


def _sizes(paths: Iterable[Path]) -> Iterable[tuple[int, int, Path]]:
    """(time of the last change, bytes, path) of the files that are still there."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            yield found.st_mtime_ns, found.st_size, path


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
