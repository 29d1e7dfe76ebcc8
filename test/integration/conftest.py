"""What the tests of the whole stack share: models, a quick model server, and stacks that end with their module."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import forked_model_server, preloaded_model_server
from support.models import built_models
from support.multi_model import MultiModelStack, StartMultiModelStack
from support.stack import RunningStack
from tfsd.protos import packages
from tfsd.stack.model_server_flags import EMBEDDED

packages.install()  # messages are imported without TensorFlow, which takes every process 6 s of CPU

RunningStack.one_worker = True

PLAIN_MODELS = ("half_plus_two", "half_plus_three", "matrix", "string", "multi")

#: Modules that take the longest, most of it waiting. They begin first, or the others would be done long before them.
LONGEST = (
    "test_tune",
    "test_multi_model_reliability",
    "test_reliability",
    "test_openapi_fuzzed",
    "test_documentation",
    "test_multi_model_slots",
    "test_multi_model",
    "test_updates",
    "test_tutorial",
    "test_runtime",
    "test_variants",
    "test_endpoints",
    "test_local",
    "test_readme",
)

QUICK = """#!/bin/sh
[ "$*" != --version ] || exec cat {version}
exec {words} "$@"
"""

StartStack = Callable[..., RunningStack]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST)}
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        return order.get(item.path.stem, len(order)) if item.path.is_relative_to(here) else len(order)

    items.sort(key=place)


@pytest.fixture(scope="session")
def models() -> Path:
    """The directory of the models of make_models.py."""
    return built_models()


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of the process that model servers are forked from: one for all processes of this test run."""
    directory = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        directory = directory.parent
    with preloaded_model_server.shared(directory / "preloaded") as path:
        yield path


@pytest.fixture(scope="session")
def quick_model_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An executable for SAGEMAKER_TFS_BINARY: the one that the variable names already, such as a real
    tensorflow_model_server, else the embedded model server, with TensorFlow loaded already."""
    named = os.environ.get("SAGEMAKER_TFS_BINARY")
    if named:
        found = shutil.which(named)
        assert found, f"SAGEMAKER_TFS_BINARY={named} cannot be executed"
        return Path(found).absolute()
    preloaded = request.getfixturevalue("preloaded")
    executable = tmp_path_factory.mktemp("quick") / "model_server"
    words = [sys.executable, "-S", forked_model_server.__file__, str(preloaded), *EMBEDDED[2:]]
    executable.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    executable.chmod(0o755)
    version = executable.with_name("version")  # which each stack asks for, and which is no fork's to say
    version.write_bytes(subprocess.run([executable, "--version"], check=True, capture_output=True).stdout)
    executable.write_text(QUICK.format(version=shlex.quote(str(version)), words=shlex.join(words)))
    return executable


@pytest.fixture(scope="module")
def start_stack(quick_model_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartStack]:
    """`start_stack(model_dir, **variables)`: a healthy stack that is stopped, and checked, at the module's end."""
    with contextlib.ExitStack() as running:

        def start(model_dir: Path, **environ: str) -> RunningStack:
            environ.setdefault("SAGEMAKER_TFS_BINARY", str(quick_model_server))
            stack = RunningStack(tmp_path_factory.mktemp("stack"), model_dir, environ)
            return running.enter_context(stack)

        yield start


@pytest.fixture(scope="session")
def plain_stack(
    models: Path, quick_model_server: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    """A stack without user code; of its models half_plus_three is the default one."""
    model_dir = linked(tmp_path_factory.mktemp("plain"), models, *PLAIN_MODELS)
    environ = {"SAGEMAKER_TFS_BINARY": str(quick_model_server)}
    with RunningStack(tmp_path_factory.mktemp("stack"), model_dir, environ) as stack:
        yield stack


def linked(directory: Path, models: Path, *names: str) -> Path:
    """A model directory with links to models."""
    for name in names:
        (directory / name).symlink_to(models / name)
    return directory


@pytest.fixture(scope="module")
def start_multi_model(
    quick_model_server: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartMultiModelStack]:
    """`start_multi_model(**variables)`: a stack that is stopped, and checked, at the module's end."""
    running: list[MultiModelStack] = []

    def start(**environ: str) -> MultiModelStack:
        environ.setdefault("SAGEMAKER_TFS_BINARY", str(quick_model_server))
        running.append(MultiModelStack(tmp_path_factory.mktemp("stack"), environ))
        return running[-1].__enter__()

    yield start
    for stack in running:
        stack.__exit__()
