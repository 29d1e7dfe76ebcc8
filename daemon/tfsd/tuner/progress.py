"""What is being tried, and the time that is left: one line that is written anew, or a line for each step elsewhere."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

WIDTH = 20
TICK_SECONDS = 1.0


class Progress:
    """A context manager around the work of about `seconds`, which begins when it is entered, or again with `begin`."""

    def __init__(
        self, seconds: float, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._seconds = seconds
        self._clock = clock
        self._began = clock()
        self._text = ""
        self._live = self._stream.isatty()
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        self._began = self._clock()
        if self._live:
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._live:
            self._ticker.join()
            print("\r\x1b[K", end="", file=self._stream, flush=True)

    def begin(self) -> None:
        """Let the time begin now: what was done until here does not count."""
        self._began = self._clock()

    def left(self) -> float:
        """Seconds until the end; never negative."""
        return max(0.0, self._began + self._seconds - self._clock())

    def tell(self, text: str) -> None:
        """Say what is done from now on."""
        if text == self._text:
            return
        self._text = text
        if self._live:
            self._draw()
        else:
            print(f"bin/local: {self.line()}", file=self._stream, flush=True)

    def line(self) -> str:
        """The bar, the time that is left, and what is being tried."""
        left = self.left()
        done = round(WIDTH * (1 - left / self._seconds)) if self._seconds else WIDTH
        minutes, seconds = divmod(round(left), 60)
        return f"[{'#' * done}{'.' * (WIDTH - done)}] {minutes}:{seconds:02} left, {self._text}"

    def _tick(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            self._draw()

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[K{f'bin/local: {self.line()}'[:width]}", end="", file=self._stream, flush=True)
