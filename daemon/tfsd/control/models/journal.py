"""What is being loaded or unloaded just now, so that a control that is killed meanwhile finishes it or cleans it up.

Owns the journal's files: one a model, written before anything of that model exists and deleted after it is loaded
for good, or gone for good. What is loaded stands in the plan.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator
from pathlib import Path

from tfsd.plan import Model, model_from
from tfsd.run_dir import RunDir, replace
from tfsd.stack.multi_model import socket_id

LOADING, UNLOADING = "loading", "unloading"

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A model in transition; `helper` is the process group that prepares its code."""

    phase: str
    model: Model
    helper: int | None = None


class Journal:
    """The entries of one run directory."""

    def __init__(self, run_dir: RunDir) -> None:
        self._run_dir = run_dir

    def write(self, entry: Entry) -> None:
        """Note an entry, in place of the model's last one."""
        replace(self._path(entry.model.name), json.dumps(dataclasses.asdict(entry)))

    def erase(self, name: str) -> None:
        """Forget a model's entry, if there is one."""
        self._path(name).unlink(missing_ok=True)

    def entries(self) -> Iterator[Entry]:
        """All entries."""
        for path in sorted(self._run_dir.journal.glob("*.json")):
            try:
                document = json.loads(path.read_text())
                yield Entry(document["phase"], model_from(document["model"]), document["helper"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.error("Cannot read %s: %r.", path, error)

    def _path(self, name: str) -> Path:
        return self._run_dir.journal_entry(socket_id(name))
