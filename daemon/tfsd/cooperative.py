"""The standard library made cooperative by gevent, for less.

gevent asks at each of its 25 steps for plugins, each time in the metadata of all that is installed: where that is 150
distributions, most of what it takes to start a worker. What reads metadata takes a sixth of that to import, too, and is
not needed where nothing that is installed has plugins, which is almost everywhere.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from gevent import events, monkey

PLUGINS = "gevent.plugins."  # what the groups of its entry points begin with
METADATA = (".dist-info", ".egg-info")
ENTRY_POINTS = "entry_points.txt"
GEVENT = "gevent-"  # its own plugin warns of who has signals patched, but not os


def patch_all() -> None:
    """gevent's `patch_all`, whose plugins are looked for once. To be called before anything imports ssl."""
    plugins = _plugins() if any(map(_may_have_plugins, sys.path)) else []

    def notify(event: Any) -> None:
        events.notify(event)
        for plugin in plugins:
            if plugin.group == event.ENTRY_POINT_NAME:
                plugin.load()(event)

    original = events.notify_and_call_entry_points
    events.notify_and_call_entry_points = notify
    try:
        monkey.patch_all()
    finally:
        events.notify_and_call_entry_points = original


def _may_have_plugins(path: str) -> bool:
    """Whether something in this entry of sys.path has plugins of gevent's, or it is no directory and may have."""
    try:
        names = os.listdir(path or os.curdir)
    except NotADirectoryError:
        return True
    except OSError:
        return False
    return any(
        _names_plugins(os.path.join(path, name))
        for name in names
        if name.endswith(METADATA) and not name.startswith(GEVENT)
    )


def _names_plugins(directory: str) -> bool:
    try:
        with open(os.path.join(directory, ENTRY_POINTS), "rb") as file:
            return PLUGINS.encode() in file.read()
    except OSError:
        return False


def _plugins() -> list[Any]:
    import importlib.metadata

    return [
        entry_point
        for distribution in importlib.metadata.distributions()
        if PLUGINS in (distribution.read_text(ENTRY_POINTS) or "")  # parsed where there are any
        for entry_point in distribution.entry_points
    ]
