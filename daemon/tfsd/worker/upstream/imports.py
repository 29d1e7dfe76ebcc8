"""What a worker does to a library as soon as, and only if, something in this process imports it.

User code imports what it likes whenever it likes, and what it never imports costs nothing.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any


def when_imported(name: str, prepare: Callable[[], None]) -> None:
    """Call `prepare` now if the top-level module `name` is imported already, else at the end of its import."""
    if name in sys.modules:
        prepare()
    else:
        sys.meta_path.insert(0, _Finder(name, prepare))


class _Finder:
    """Finds the module where it is, with a loader that prepares it. Not of importlib.abc, which imports much."""

    def __init__(self, name: str, prepare: Callable[[], None]) -> None:
        self._name, self._prepare = name, prepare

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._prepare)  # type: ignore[assignment]
        return spec


class _Loader:
    def __init__(self, real: Any, prepare: Callable[[], None]) -> None:
        self._real, self._prepare = real, prepare

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._real.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        self._real.exec_module(module)
        self._prepare()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
