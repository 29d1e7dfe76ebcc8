"""Writes `tensorflow.binpb`: `python -m tfsd.protos.make_set`, where TensorFlow is installed.

The set holds the files that the messages of `tensorflow_serving.apis` depend on, as the installed TensorFlow
defines them, and nothing that protobuf itself brings.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from tfsd.protos import packages
from tfsd.protos.vendored import SET


def descriptor_set() -> bytes:
    """The serialized FileDescriptorSet, each file after those that it depends on."""
    from google.protobuf import descriptor_pb2

    apis = importlib.import_module("tensorflow_serving.apis")
    files: dict[str, Any] = {}
    for module in pkgutil.iter_modules(apis.__path__):
        if module.name.endswith(packages.MODULE_SUFFIX):
            found = importlib.import_module(f"{apis.__name__}.{module.name}")
            _collect(found.DESCRIPTOR, files)
    written = descriptor_pb2.FileDescriptorSet()
    for name, file in files.items():
        if not name.startswith(("google/", "tensorflow_serving/")):
            written.file.add().ParseFromString(file.serialized_pb)
    return written.SerializeToString(deterministic=True)


def _collect(file: Any, files: dict[str, Any]) -> None:
    if file.name not in files:
        for dependency in file.dependencies:
            _collect(dependency, files)
        files[file.name] = file


if __name__ == "__main__":
    packages.install()
    SET.write_bytes(descriptor_set())
