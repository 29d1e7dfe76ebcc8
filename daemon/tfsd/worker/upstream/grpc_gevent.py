"""Makes gRPC wait in gevent's way as soon as, and only if, something in this process imports it.

gRPC must be told before its first channel (`grpc.experimental.gevent`); otherwise a call blocks the whole worker.
User code makes channels of its own whenever it likes, so the import itself is the moment.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

NAME = "grpc"


def install() -> None:
    """Prepare gRPC now if it is imported already, else when it is."""
    if NAME in sys.modules:
        _prepare()
    else:
        sys.meta_path.insert(0, _Finder())


def _prepare() -> None:
    from grpc.experimental.gevent import init_gevent

    init_gevent()


class _Finder(importlib.abc.MetaPathFinder):
    """Finds gRPC where it is, with a loader that prepares it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != NAME:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, real: Any) -> None:
        self._real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._real.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        # Its handlers at fork() do nothing under gevent but log a line for each process that user code starts.
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
        self._real.exec_module(module)
        _prepare()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
