"""What the tests of images share. They are skipped where there is no engine, no docker-compose or no image.

The image is chosen with the options that users of SageMaker's own container know, so that another one can be tested.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from support.docker import Composed, StartEndpoint, compose_command, missing_engine
from support.models import built_models


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("images", "the image that test/compose runs: NAME:VERSION-PROCESSOR")
    group.addoption("--docker-name-base", "--docker-base-name", default="sagemaker-tensorflow-serving")
    group.addoption("--framework-version", default="embedded")
    group.addoption("--processor-type", "--processor", choices=["cpu", "gpu"], default="cpu")


@pytest.fixture(scope="session")
def image(pytestconfig: pytest.Config) -> str:
    """The image's name; skips when it cannot be run here."""
    reason = missing_engine()
    if reason:
        pytest.skip(reason)
    if compose_command() is None:
        pytest.skip("there is neither docker-compose nor a compose plugin of docker")
    option = pytestconfig.getoption
    base = option("--docker-name-base", "sagemaker-tensorflow-serving")
    version = option("--framework-version", "embedded")
    name = f"{base}:{version}-{option('--processor-type', 'cpu')}"
    if subprocess.run(["docker", "image", "inspect", name], capture_output=True).returncode:
        pytest.skip(f"there is no image {name}; build it: bin/build.sh --version {version}")
    return name


@pytest.fixture(scope="session")
def models(image: str) -> Path:
    """The directory of the models of make_models.py."""
    return built_models()


@pytest.fixture(scope="session")
def numbers(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with half_plus_two and half_plus_three, without user code."""
    directory = tmp_path_factory.mktemp("numbers")
    for name in ("half_plus_two", "half_plus_three"):
        shutil.copytree(models / name, directory / name)
    return directory


@pytest.fixture(scope="module")
def start_endpoint(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartEndpoint]:
    """`start_endpoint(model_dir, memory, volumes, **environ)`: healthy, and removed at the module's end."""
    with contextlib.ExitStack() as running:

        def start(
            model_dir: Path, memory: str = "3G", volumes: Sequence[str] = (), **environ: str
        ) -> Composed:
            directory = tmp_path_factory.mktemp("endpoint")
            return running.enter_context(Composed(directory, image, model_dir, environ, memory, volumes))

        yield start
