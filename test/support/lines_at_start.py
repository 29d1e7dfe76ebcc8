"""What each process does first whose lines are noted (`lines`). It imports little: all of them pay for that."""

from __future__ import annotations

import builtins
import marshal
import mmap
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType

DIRECTORY = "TFSD_LINES"  # the variable that names what `lines.prepare` made
NOTES = "__lines__"  # the shared memory's name among the builtins, which every module sees
MEMORY = "memory"
PACKAGE = "tfsd"


def compiled(directory: str, path: str) -> str:
    """Where the code of the module at this path is that notes its lines."""
    return os.path.join(directory, path.replace("/", "%"))


class NotingLoader(SourceFileLoader):
    def __init__(self, name: str, path: str, code: str) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType | None:
        with open(self._code, "rb") as file:
            code: CodeType = marshal.loads(file.read())  # `load` asks for a few bytes at a time
        return code


class NotingFinder:
    """Finds the package's modules where they are, with the code that `lines` made of them."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name.partition(".")[0] != PACKAGE:
            return None
        spec = PathFinder.find_spec(name, path, target)  # type: ignore[arg-type]
        if spec and spec.origin and type(spec.loader) is SourceFileLoader:
            code = compiled(self._directory, spec.origin)
            if os.path.exists(code):
                spec.loader = NotingLoader(name, spec.origin, code)
        return spec


def start() -> None:
    """Note lines from now on, in this process and in what it forks."""
    directory = os.environ[DIRECTORY]
    with open(os.path.join(directory, MEMORY), "r+b") as file:
        setattr(builtins, NOTES, mmap.mmap(file.fileno(), 0))
    sys.meta_path.insert(0, NotingFinder(directory))


if __name__ == "at_start":
    start()
