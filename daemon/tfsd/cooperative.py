"""The standard library made cooperative by gevent, for less.

gevent asks at each of its 25 steps for plugins, each time in the metadata of all that is installed: where that is 150
distributions, most of what it takes to start a worker.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

from gevent import monkey

PLUGINS = "gevent.plugins."  # what the groups of its entry points begin with


def patch_all() -> None:
    """gevent's `patch_all`, whose plugins are looked for once. To be called before anything imports ssl."""
    original = importlib.metadata.entry_points
    plugins = importlib.metadata.EntryPoints(
        entry_point
        for distribution in importlib.metadata.distributions()
        if PLUGINS in (distribution.read_text("entry_points.txt") or "")  # parsed where there are any
        for entry_point in distribution.entry_points
    )

    def entry_points(**wanted: Any) -> Any:
        return plugins.select(**wanted)

    importlib.metadata.entry_points = entry_points
    try:
        monkey.patch_all()
    finally:
        importlib.metadata.entry_points = original
