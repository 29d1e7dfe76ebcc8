"""One emulator for each module, with the preloaded model server for its stacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.conftest import linked
from support.local_sagemaker import LocalSageMaker
from support.sagemaker_clients import clients


@pytest.fixture(scope="module")
def sagemaker(quick_model_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSageMaker]:
    environ = {"SAGEMAKER_TFS_BINARY": str(quick_model_server)}
    with LocalSageMaker(tmp_path_factory.mktemp("sagemaker"), environ) as running:
        yield running


@pytest.fixture(scope="session")
def two_and_three(models: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Model directories: one that makes 3.0 of 2.0, and one that makes 4.0."""
    two = tmp_path_factory.mktemp("two")
    (two / "half_plus_two").mkdir()
    (two / "half_plus_two" / "123").symlink_to(models / "half_plus_two" / "123")
    return two, linked(tmp_path_factory.mktemp("three"), models, "half_plus_three")


@pytest.fixture(scope="session")
def client_programs() -> Path:
    """Where `aws` and a Python with SageMaker's SDK are."""
    return clients()
