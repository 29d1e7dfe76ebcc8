"""How transform jobs are getting on, for whoever watches the terminal: objects, records, records a second, errors.

On a terminal a bar for each job that runs, which leaves one line when it ends; elsewhere a line now and then.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

REFRESH_SECONDS = 0.2
LINE_SECONDS = 10


class Display:
    """One for a terminal. `stream` is written to; `clock` gives seconds. Logs that go to `.stream` leave bars whole."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = Console(file=stream, highlight=False)
        self.stream = cast(TextIO, _Lines(self.say)) if self.console.is_terminal else stream
        self.clock = clock
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f} objects"),
            TextColumn("{task.fields[counts]}"),
            console=self.console,
            auto_refresh=False,
            transient=True,
        )
        self._drawn = 0.0

    def job(self, name: str) -> JobProgress:
        """The progress of one job, which tells it what happens."""
        return JobProgress(self, name)

    def draw(self, *, now: bool = False) -> None:
        """Bring the bars up to date, if the last time is long enough ago."""
        if self.console.is_terminal and (now or self.clock() - self._drawn >= REFRESH_SECONDS):
            self._drawn = self.clock()
            self.bars.refresh()

    def begin(self) -> None:
        if self.console.is_terminal:
            self.bars.start()

    def end(self) -> None:
        """Take the bars away when no job is left."""
        if self.console.is_terminal and not self.bars.tasks:
            self.bars.stop()

    def say(self, text: str) -> None:
        """A line that stays, above the bars."""
        self.console.print(Text(text), soft_wrap=True)


class _Lines(io.TextIOBase):
    """Takes text and hands on whole lines, as long as they are: rich's own would break them at the terminal's width."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._begun = say, ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._say(line)
        return len(text)


class JobProgress:
    """Counts of one job."""

    def __init__(self, display: Display, name: str) -> None:
        self._display, self._name = display, name
        self._objects = self._done = self._errors = self._records = 0
        self._said = 0.0
        self._sending: float | None = None
        self._latest = 0.0
        self._task: TaskID | None = None

    def started(self, objects: int) -> None:
        self._objects = objects
        self._said = self._display.clock()
        self._display.say(f"Transform job {self._name}: {objects} objects.")
        self._task = self._display.bars.add_task(self._name, total=objects, counts="starting")
        self._display.begin()
        self._display.draw(now=True)

    def sending(self) -> None:
        """An instance is healthy: from the first one on records are counted by the second."""
        self._sending = self._sending or self._display.clock()
        self._changed()

    def records(self, count: int) -> None:
        self._records += count
        self._changed()

    def object_done(self, failed: bool) -> None:
        self._done += 1
        self._errors += failed
        self._changed()

    def ended(self, status: str) -> None:
        if self._task is not None:
            self._display.bars.remove_task(self._task)
            self._display.end()
        self._display.say(
            f"Transform job {self._name}: {status}, {self._done}/{self._objects} objects, {self._counts}."
        )

    @property
    def _counts(self) -> str:
        if self._sending is None:
            return "nothing sent"
        seconds = self._latest - self._sending
        rate = self._records / seconds if seconds > 0 else 0.0
        return f"{self._records} records, {rate:.0f} records/s, {self._errors} errors"

    def _changed(self) -> None:
        assert self._task is not None
        self._latest = self._display.clock()
        self._display.bars.update(self._task, completed=self._done, counts=self._counts)
        if self._display.console.is_terminal:
            self._display.draw()
        elif self._display.clock() - self._said >= LINE_SECONDS:
            self._said = self._display.clock()
            self._display.say(
                f"Transform job {self._name}: {self._done}/{self._objects} objects, {self._counts}."
            )
