"""Compiled templates beside their sources, in `__pycache__`, as Python keeps modules.

To compile them takes more CPU than all else that a start does. Imports Jinja, which a process that renders nothing does
not need.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket


class CompiledTemplates(jinja2.FileSystemBytecodeCache):
    """Of the templates in `directory`, by an environment with such `options`.

    What cannot be kept is compiled each time.
    """

    def __init__(self, directory: Path, options: Mapping[str, object]) -> None:
        super().__init__(str(directory / "__pycache__"), f"%s.{sys.implementation.cache_tag}")
        self._made_by = f"{jinja2.__version__} {sorted(options.items())}"

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        return name

    def get_source_checksum(self, source: str) -> str:
        """Of all that the compiled template depends on, besides Python's version."""
        return super().get_source_checksum(f"{self._made_by}\n{source}")

    def load_bytecode(self, bucket: Bucket) -> None:
        with contextlib.suppress(OSError):
            super().load_bytecode(bucket)

    def dump_bytecode(self, bucket: Bucket) -> None:
        if sys.dont_write_bytecode:
            return
        with contextlib.suppress(OSError):
            directory = Path(self.directory)
            directory.mkdir(exist_ok=True)
            super().dump_bytecode(bucket)
            # whoever reads the templates may read this
            (directory / (self.pattern % bucket.key)).chmod(0o644)
