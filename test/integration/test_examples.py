"""Each example's README, done from its first line to its last. The digits are test_local's."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.walkthrough import ROOT, Walkthrough
from tfsd.stack.ports import allocate

EXAMPLES = {"rentals": 2, "pipeline": 1, "zoo": 2}  # outputs in each README


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example(
    name: str, quick_model_server: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environ = {"SAGEMAKER_TFS_BINARY": str(quick_model_server)}
    reader = Walkthrough(tmp_path, tmp_path_factory.mktemp("run"), allocate(1)[0], environ)
    assert reader.do(ROOT / "examples" / name / "README.md") == EXAMPLES[name]


def test_every_example_is_listed() -> None:
    listed = (ROOT / "examples" / "README.md").read_text()
    assert all(f"[{path.name}]" in listed for path in (ROOT / "examples").iterdir() if path.is_dir())
