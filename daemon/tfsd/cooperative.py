"""The standard library made cooperative by gevent, for less.

gevent asks at each of its 25 steps for plugins, each time in the metadata of all that is installed: where that is 150
distributions, most of what it takes to start a worker.
"""

from __future__ import annotations

import functools
import importlib.metadata
from typing import Any

from gevent import monkey


def patch_all() -> None:
    """gevent's `patch_all`, whose plugins are looked for once. To be called before anything imports ssl."""
    original = importlib.metadata.entry_points
    installed = functools.cache(original)

    def entry_points(**wanted: Any) -> Any:
        return installed().select(**wanted)

    importlib.metadata.entry_points = entry_points
    try:
        monkey.patch_all()
    finally:
        importlib.metadata.entry_points = original
