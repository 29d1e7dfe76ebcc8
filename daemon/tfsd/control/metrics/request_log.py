"""nginx's log of requests: followed from where it was left, and rotated when it is long.

Owns the file's reading position and its rotation. It never looks into a line, and never loses one: the old
file is deleted only after nginx writes to a new one and the old one has been quiet for a while.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from tfsd.run_dir import RunDir

CHUNK_BYTES = 1 << 16  # about 800 lines, counted in a few milliseconds: /ping waits no longer
ROTATE_BYTES = 16 << 20
QUIET_SECONDS = 5.0  # nginx's workers empty their buffers within a second of the signal
SIGNAL_AGAIN_SECONDS = 10.0

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Position:
    """How far a file, known by its inode, has been read; `offset` is in bytes and after a line's end."""

    inode: int
    offset: int


class RequestLog:
    """Follows the log at `path`, from `position` if that is known, else from its present end.

    Each `read_chunk` hands whole lines to `consume`; `position` then says what has been consumed. `reopen`
    has nginx open its log anew, `save` must store the position that it is given (before a file that
    was read is deleted, and after).
    """

    def __init__(
        self,
        path: Path,
        position: Position | None,
        consume: Callable[[Sequence[bytes]], None],
        reopen: Callable[[], None],
        save: Callable[[Position], None],
        clock: Callable[[], float],
        rotate_bytes: int = ROTATE_BYTES,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self._path = path
        self._retired = path.with_name(path.name + ".1")
        self._consume = consume
        self._reopen = reopen
        self._save = save
        self._clock = clock
        self._rotate_bytes = rotate_bytes
        self._chunk_bytes = chunk_bytes
        self._file: int | None = None
        self._offset = 0
        self._moved_at = self._signalled_at = clock()
        self._resume(position)

    @property
    def position(self) -> Position | None:
        """Where reading goes on, None before the file exists."""
        return None if self._file is None else Position(os.fstat(self._file).st_ino, self._offset)

    def read_chunk(self) -> bool:
        """Consume the next lines, `chunk_bytes` at most; returns whether there may be more at once."""
        if self._file is None and not self._open(self._path, 0):
            return False
        assert self._file is not None
        data = os.pread(self._file, self._chunk_bytes, self._offset)
        whole = data.rfind(b"\n") + 1
        if not whole and len(data) < self._chunk_bytes:
            return self._at_end()  # of the file, or of what is written of a line
        self._moved_at = self._clock()
        lines = data[: whole or None].split(b"\n")
        self._consume(lines[:-1] if whole else lines)
        self._offset += whole or len(data)
        return True

    def rewind(self) -> None:
        """Go on at the beginning of the file, which has been cut."""
        self._offset = 0

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _resume(self, position: Position | None) -> None:
        if position is None:
            self._retired.unlink(missing_ok=True)
            size = self._path.stat().st_size if self._path.exists() else 0
            self._open(self._path, size)
            return
        for path in (self._retired, self._path):
            if _inode(path) == position.inode:
                self._open(path, position.offset)
                return

    def _open(self, path: Path, offset: int) -> bool:
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self._offset = offset
        self._moved_at = self._clock()
        return True

    def _at_end(self) -> bool:
        assert self._file is not None
        status = os.fstat(self._file)
        if status.st_size < self._offset:
            log.warning("%s was cut; its lines are counted from its beginning.", self._path)
            self._offset = 0
            return True
        if status.st_ino == _inode(self._path):
            if self._offset > self._rotate_bytes:
                self._retire()
            return False
        return self._leave(status.st_ino)

    def _retire(self) -> None:
        self._path.rename(self._retired)
        self._moved_at = self._signalled_at = self._clock()
        self._reopen()

    def _leave(self, inode: int) -> bool:
        """Go over to the new file when the old one, which has another name or none by now, is over."""
        now = self._clock()
        if not self._path.exists():
            if now - self._signalled_at > SIGNAL_AGAIN_SECONDS:
                self._signalled_at = now
                self._reopen()
            return False
        if now - self._moved_at < QUIET_SECONDS:
            return False
        self._save(Position(inode, self._offset))
        if _inode(self._retired) == inode:
            self._retired.unlink()
        self.close()
        opened = self._open(self._path, 0)
        if self.position:
            self._save(self.position)  # at once: the next file may get the old one's inode number
        return opened


def signal_nginx(
    run_dir: RunDir, number: int = signal.SIGUSR1, purpose: str = "open a new requests.log"
) -> None:
    """Send a signal to nginx's master; without a running nginx nothing needs to be done."""
    try:
        os.kill(int(run_dir.nginx_pid.read_text()), number)
    except (OSError, ValueError) as error:
        log.warning("Cannot have nginx %s: %s.", purpose, error)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None
