"""Importing TensorFlow's generated message classes without importing TensorFlow.

`tensorflow_serving.apis` imports `tensorflow.core.framework.tensor_pb2` and the like. Python imports a module's
parents first, so that each of these would load all of TensorFlow (400 MB, several seconds), or fail where it
is not installed. An import looks into `sys.modules` before it turns to parents, so `install` registers the few
packages that hold messages, without the parent `tensorflow`:

- where TensorFlow is installed they are its own directories. The modules in them are TensorFlow's own, and an
  `import tensorflow` before or after finds the same ones: protobuf's pool of descriptors, which refuses two
  different definitions of one file, never sees a second one;
- where it is not, they are empty, and `vendored` supplies the modules. `import tensorflow` still fails there.

This module never imports protobuf or TensorFlow itself: a worker that uses no messages pays a few lookups.
Two things need the parent and so TensorFlow: `import tensorflow.core.framework.tensor_pb2 as NAME`, and pickling
a bare TensorProto (a PredictResponse pickles without).
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

ROOT = "tensorflow"
PACKAGES = (  # those of the modules that tensorflow_serving imports, parents first
    "tensorflow.core",
    "tensorflow.core.example",
    "tensorflow.core.framework",
    "tensorflow.core.protobuf",
    "tensorflow.compiler",
    "tensorflow.compiler.xla",
    "tensorflow.compiler.xla.tsl",
    "tensorflow.compiler.xla.tsl.protobuf",
    "tensorflow.tsl",
    "tensorflow.tsl.protobuf",
)
MODULE_SUFFIX = "_pb2"


def install(python_path: Sequence[str] = ()) -> None:
    """Make the messages importable in this process. Does nothing when TensorFlow is imported already.

    `python_path` is what will come first on `sys.path` for user code, which may bring a TensorFlow.
    """
    if ROOT in sys.modules:
        return
    spec = importlib.machinery.PathFinder.find_spec(ROOT, [*python_path, *sys.path])
    if spec is None:
        from tfsd.protos.vendored import VendoredFinder  # with importlib.abc, which imports much

        sys.meta_path.append(VendoredFinder())
        for name in PACKAGES:
            _register(name, [])
        return
    for name in PACKAGES:
        relative = Path(*name.split(".")[1:])
        places = [str(Path(root) / relative) for root in spec.submodule_search_locations or ()]
        if any(Path(place).is_dir() for place in places):
            _register(name, places)


def _register(name: str, places: list[str]) -> None:
    """Put a package without an `__init__` into sys.modules (TensorFlow's own are empty)."""
    spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = places
    package = importlib.util.module_from_spec(spec)
    package.__getattr__ = _messages_of(name)  # type: ignore[method-assign]
    sys.modules[name] = package
    parent, _, own = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], own, package)


def _messages_of(package: str) -> Callable[[str], ModuleType]:
    """A module's `__getattr__` (PEP 562) that imports its message modules.

    `from PACKAGE import NAME` imports a NAME that is no attribute by a way that needs all parents.
    """

    def find(name: str) -> ModuleType:
        if name.endswith(MODULE_SUFFIX):
            try:
                return importlib.import_module(f"{package}.{name}")
            except ModuleNotFoundError as error:
                raise AttributeError(str(error)) from None
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find
