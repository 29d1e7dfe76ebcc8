"""`import tensorflow` without its consequences: 2,300 modules and seconds of CPU time, most of which serve no model.

The package's own code imports all that TensorFlow's public names stand for. So it is run only when somebody asks for
one of them, as packages of op libraries do; whoever imports modules of TensorFlow's by their names gets just these.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

PACKAGE = "tensorflow"


def postpone() -> None:
    """Have the package imported so from now on. Nothing changes where it is imported already, or not installed."""
    if PACKAGE in sys.modules:
        return
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.loader is None:
        return
    package, run = importlib.util.module_from_spec(spec), spec.loader.exec_module

    def whole(name: str) -> Any:
        """A name that the package does not have yet (PEP 562)."""
        if name.startswith("__"):
            raise AttributeError(f"module {PACKAGE!r} has no attribute {name!r}")
        vars(package).pop("__getattr__", None)
        run(package)
        return getattr(package, name)

    vars(package)["__getattr__"] = whole
    sys.modules[PACKAGE] = package
