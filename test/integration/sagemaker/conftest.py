"""One emulator for each module, with the preloaded model server for its stacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.local_sagemaker import LocalSageMaker
from support.sagemaker_clients import clients


@pytest.fixture(scope="module")
def sagemaker(quick_model_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSageMaker]:
    environ = {"SAGEMAKER_TFS_BINARY": str(quick_model_server)}
    with LocalSageMaker(tmp_path_factory.mktemp("sagemaker"), environ) as running:
        yield running


@pytest.fixture(scope="session")
def client_programs() -> Path:
    """Where `aws` and a Python with SageMaker's SDK are."""
    return clients()
