"""TensorFlow's message modules from a set of descriptors of our own, for where TensorFlow is not installed.

The set is `tensorflow.binpb` beside this file, a serialized FileDescriptorSet that `make_set` writes. A module
made from it has the same names as TensorFlow's own. Never used beside an installed TensorFlow.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

SET = Path(__file__).with_name("tensorflow.binpb")
PREFIX = "tensorflow."


class VendoredFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and loads `tensorflow.core.framework.tensor_pb2` and all others of the set."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(PREFIX) or fullname not in self._files:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module as protobuf's compiler would, after those that its file depends on."""
        from google.protobuf import descriptor_pool
        from google.protobuf.internal import builder

        file = self._files[module.__name__]
        names = vars(module)
        for index, dependency in enumerate(file.dependency):
            names[_alias(dependency)] = imported = importlib.import_module(module_name(dependency))
            if index in file.public_dependency:
                names.update({name: value for name, value in vars(imported).items() if name[0] != "_"})
        names["DESCRIPTOR"] = descriptor = descriptor_pool.Default().AddSerializedFile(
            file.SerializeToString()
        )
        builder.BuildMessageAndEnumDescriptors(descriptor, names)
        builder.BuildTopDescriptorsAndMessages(descriptor, module.__name__, names)

    @cached_property
    def _files(self) -> Mapping[str, Any]:
        """FileDescriptorProtos by the names of their modules."""
        from google.protobuf import descriptor_pb2

        files = descriptor_pb2.FileDescriptorSet.FromString(SET.read_bytes()).file
        return {module_name(file.name): file for file in files}


def module_name(proto: str) -> str:
    """The module of a proto file: `tensorflow/core/framework/tensor.proto` is `….framework.tensor_pb2`.

    TensorFlow's package has XLA's files, `xla/…`, below `tensorflow.compiler`.
    """
    name = proto.removesuffix(".proto").replace("/", ".").replace("-", "_") + "_pb2"
    return f"tensorflow.compiler.{name}" if name.startswith("xla.") else name


def _alias(proto: str) -> str:
    """The name under which generated modules keep a module that they import; others reach through it."""
    return proto.removesuffix(".proto").replace("_", "__").replace("/", "_dot_") + "__pb2"
