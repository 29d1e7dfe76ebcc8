"""The emulator: the collaborators that every action needs, made once when the server starts and handed on.

Owns their life (start, restore, stop). What they do is theirs.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from gevent.pool import Group

from tfsd.sagemaker.instances.instance import Launcher
from tfsd.sagemaker.log_streams import LogStreams
from tfsd.sagemaker.object_store import ObjectStore
from tfsd.sagemaker.state import State

log = logging.getLogger(__name__)


@dataclasses.dataclass
class Emulator:
    """`launcher` starts instances of models, `objects` is S3, `log_streams` is CloudWatch Logs."""

    directory: Path
    state: State
    objects: ObjectStore
    log_streams: LogStreams
    launcher: Launcher
    background: Group = dataclasses.field(default_factory=Group)

    def spawn(self, function: Callable[..., Any], *arguments: Any) -> gevent.Greenlet:
        """Run `function` beside the requests; what it raises is logged. Killed when the server stops."""
        greenlet = gevent.spawn(_logged, function, *arguments)
        self.background.add(greenlet)
        return greenlet


def _logged(function: Callable[..., Any], *arguments: Any) -> None:
    try:
        function(*arguments)
    except Exception:
        log.exception("%s failed", getattr(function, "__qualname__", function))
