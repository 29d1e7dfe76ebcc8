"""Every page of the tutorial, done from its first line to its last."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.walkthrough import ROOT, Walkthrough
from tfsd.stack.ports import allocate

PAGES = {"first-model": 3, "own-code": 2, "batch": 2, "multi-model": 3}  # outputs on each


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages follow each other in one directory."""
    return tmp_path_factory.mktemp("tutorial")


@pytest.fixture(scope="module")
def reader(
    directory: Path, quick_model_server: Path, tmp_path_factory: pytest.TempPathFactory
) -> Walkthrough:
    environ = {"SAGEMAKER_TFS_BINARY": str(quick_model_server), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return Walkthrough(directory, tmp_path_factory.mktemp("run"), allocate(1)[0], environ)


@pytest.mark.timeout(900)  # of a busy machine
def test_the_tutorial(reader: Walkthrough) -> None:
    for name, outputs in PAGES.items():
        assert reader.do(ROOT / "docs" / "tutorial" / f"{name}.md") == outputs
