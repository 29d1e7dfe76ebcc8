"""Compiled templates beside their sources, in `__pycache__`, as Python keeps modules.

To compile them takes more CPU than all else that a start does. Imports Jinja, which a process that renders nothing does
not need.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket


class CompiledTemplates(jinja2.BytecodeCache):
    """Of the templates in `directory`, by an environment with such `options`.

    What cannot be kept is compiled each time.
    """

    def __init__(self, directory: Path, options: Mapping[str, object]) -> None:
        self._directory = directory / "__pycache__"
        self._made_by = f"{jinja2.__version__} {sorted(options.items())}"

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        return f"{name}.{sys.implementation.cache_tag}"

    def get_source_checksum(self, source: str) -> str:
        """Of all that the compiled template depends on, besides Python's version."""
        return super().get_source_checksum(f"{self._made_by}\n{source}")

    def load_bytecode(self, bucket: Bucket) -> None:
        with contextlib.suppress(OSError), (self._directory / bucket.key).open("rb") as file:
            bucket.load_bytecode(file)

    def dump_bytecode(self, bucket: Bucket) -> None:
        if sys.dont_write_bytecode:
            return
        with contextlib.suppress(OSError):
            self._directory.mkdir(exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._directory, delete=False) as file:
                bucket.write_bytecode(file)
            os.chmod(file.name, 0o644)  # whoever reads the templates may read this
            os.replace(file.name, self._directory / bucket.key)
