"""What the tests of the whole stack share: models, a quick model server, and stacks that end with their module."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import preloaded_model_server
from support.models import built_models
from support.stack import RunningStack
from tfsd.stack.model_server_flags import EMBEDDED

ROOT = Path(__file__).parents[2]

PLAIN_MODELS = ("half_plus_two", "half_plus_three", "matrix", "string", "multi")

StartStack = Callable[..., RunningStack]


@pytest.fixture(scope="session")
def models() -> Path:
    """The directory of the models of make_models.py."""
    return built_models()


@pytest.fixture(scope="session")
def quick_model_server() -> Iterator[Path]:
    """An executable for SAGEMAKER_TFS_BINARY: the embedded model server, with TensorFlow loaded already."""
    script = preloaded_model_server.__file__
    with tempfile.TemporaryDirectory() as directory:  # a path short enough for a socket
        path = f"{directory}/socket"
        server = subprocess.Popen(
            [sys.executable, script, "server", path],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONPATH": str(ROOT / "daemon"), "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        assert server.stdout
        assert server.stdout.readline() == b"ready\n"
        executable = Path(directory) / "model_server"
        command = shlex.join([sys.executable, "-S", script, "run", path, *EMBEDDED[2:]])
        executable.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        executable.chmod(0o755)
        yield executable
        server.kill()
        server.wait()


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
