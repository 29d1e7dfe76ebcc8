"""What survives a restart: records of models, endpoint configurations, endpoints, jobs and tags, one JSON file each.

Owns `DIR/state/KIND/NAME.json`. Files are replaced atomically; nothing here knows what a record means.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ACCOUNT = "123456789012"  # moto's, whose all records are

Record = dict[str, Any]

log = logging.getLogger(__name__)


def now() -> float:
    """The time in seconds, to the millisecond as AWS has it: clients send it back as a filter."""
    return round(time.time(), 3)


class Table:
    """The records of one kind by name, in memory and on disk. Iterates over the records, oldest first."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        files = sorted(directory.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        self._records: dict[str, Record] = {}
        for path in files:
            try:
                self._records[path.stem] = json.loads(path.read_text())
            except ValueError as error:  # the machine went down before it was on the disk
                log.error("%s cannot be read, and what it describes is forgotten: %s.", path, error)

    def get(self, name: str) -> Record | None:
        """The record itself, not a copy: call `put` after a change."""
        return self._records.get(name)

    def put(self, name: str, record: Record) -> None:
        """Store a record, new or changed. Its values are JSON; points in time are seconds since the epoch.

        Raises OSError where it cannot be written; a new one is not there then.
        """
        path = self._directory / f"{name}.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(record, indent=1))
        os.replace(partial, path)
        self._records[name] = record

    def delete(self, name: str) -> None:
        self._records.pop(name, None)
        (self._directory / f"{name}.json").unlink(missing_ok=True)

    def items(self) -> list[tuple[str, Record]]:
        return list(self._records.items())

    def __contains__(self, name: str) -> bool:
        return name in self._records

    def __iter__(self) -> Iterator[Record]:
        return iter(list(self._records.values()))

    def __len__(self) -> int:
        return len(self._records)


class State:
    """The tables. Names are SageMaker's, whose patterns make them safe as names of files."""

    def __init__(self, directory: Path) -> None:
        self.models = Table(directory / "models")
        self.endpoint_configs = Table(directory / "endpoint-configs")
        self.endpoints = Table(directory / "endpoints")
        self.transform_jobs = Table(directory / "transform-jobs")
