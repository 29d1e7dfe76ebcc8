"""One line on the terminal that says what is being done, and for how long. Standard library only."""

from __future__ import annotations

import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

DOWNLOADED = re.compile(r"Progress (\d+) of (\d+)")
SHOWN = re.compile(r"(Collecting|Downloading|Building|Installing|Using cached|apt-get|Get:|Setting up)\b.*")
TICK_SECONDS = 1.0


class Progress:
    """A context manager around the work; `show` takes the lines that the work prints, `lines` keeps them.

    On a terminal the line is written anew with every line that says something, and every second besides, since pip
    is silent for minutes while it unpacks. Elsewhere there is a line at the beginning and one at the end.
    """

    def __init__(
        self,
        title: str,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        tick: float = TICK_SECONDS,
    ) -> None:
        self.title = title
        self.lines: list[str] = []
        self._stream = stream or sys.stderr
        self._clock = clock
        self._tick = tick
        self._begun = clock()
        self._at = ""
        self._live = self._stream.isatty()
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._move, daemon=True)

    def __enter__(self) -> Progress:
        self._print(f"bin/local: {self.title} …", end="" if self._live else "\n")
        if self._live:
            self._ticker.start()
        return self

    def __exit__(self, failure: object, *rest: object) -> None:
        self._ended.set()
        if self._live:
            self._ticker.join()
        end = "failed" if failure else "done"
        start = "\r\x1b[K" if self._live else ""
        self._print(f"{start}bin/local: {self.title}: {end} after {self._seconds()}.", end="\n")

    def show(self, line: str) -> None:
        """Take a line of the work's output."""
        downloaded = DOWNLOADED.match(line)
        if downloaded:
            done, size = map(int, downloaded.groups())
            self._at = f"{self.lines[-1] if self.lines else ''} {100 * done // max(size, 1)} %"
        else:
            self.lines.append(line)
            if not SHOWN.match(line):
                return
            self._at = line
        if self._live:
            self._draw()

    def _move(self) -> None:
        while not self._ended.wait(self._tick):
            self._draw()

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns - 1
        text = f"bin/local: {self.title} ({self._seconds()}) … {self._at}"
        self._print(f"\r\x1b[K{text[:width]}", end="")

    def _print(self, text: str, end: str) -> None:
        print(text, end=end, file=self._stream, flush=True)

    def _seconds(self) -> str:
        return f"{self._clock() - self._begun:.0f} s"
