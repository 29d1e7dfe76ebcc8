"""Models whose answers are large: nginx reaches their model servers over new connections.

tensorflow_model_server holds the end of an answer above 16 KB back until its beginning is acknowledged, which the
kernel does at once on a new connection only, and 40 ms later on one that is kept. Small ones cost less on a kept one.
Owns the marks in the run directory that nginx looks for; what was answered is read from its log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from tfsd.run_dir import RunDir, remove

LARGE_BYTES = 16_000
REMEMBERED_SECONDS = 300.0


class LargeAnswers:
    """Which models had a large answer lately. `look` is called about once a second."""

    def __init__(self, run_dir: RunDir, clock: Callable[[], float]) -> None:
        self._run_dir = run_dir
        self._clock = clock
        self._seen: dict[str, float] = {}
        self._marked: set[Path] = set()

    def answered(self, label: bytes) -> None:
        """A model's direct answer was large; `label` is the model's name as nginx logs it, percent-encoded."""
        self._seen[label.decode("ascii", "replace")] = self._clock()

    def look(self, marks: Mapping[str, str]) -> None:
        """Mark the models that had a large answer lately, and those alone. Raises OSError.

        `marks` are the names by which nginx knows the models that it reaches directly, by their own.
        """
        now = self._clock()
        self._seen = {label: at for label, at in self._seen.items() if now - at < REMEMBERED_SECONDS}
        wanted = {
            self._run_dir.large_answers_mark(mark)
            for name, mark in marks.items()
            if quote(name, safe="") in self._seen
        }
        for path in wanted - self._marked:
            path.touch()
        for path in self._marked - wanted:
            remove(path)
        self._marked = wanted
