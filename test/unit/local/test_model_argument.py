"""What `bin/local serve` says to a file that it cannot serve."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tfsd.local.model_argument import ModelArgumentError, base_dir
from tfsd.run_dir import RunDir


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("net.keras", r"net\.keras is a Keras file; .*model\.export\('DIR/1'\)"),
        ("net.H5", "net.H5 is a Keras file"),
        ("model.zip", "model.zip is a zip archive; unpack it"),
        ("saved_model.pb", "saved_model.pb is one file of a SavedModel, .* give the directory above"),
        ("notes.txt", "notes.txt is neither a directory nor a tar archive"),
    ],
)
def test_other_files(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / name).write_text("something")
    with pytest.raises(ModelArgumentError, match=told) as caught:
        base_dir(tmp_path / name, RunDir(tmp_path / "run"))
    assert "\n" not in str(caught.value)


def test_an_empty_archive(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz"):
        pass
    with pytest.raises(ModelArgumentError, match=r"model\.tar\.gz is empty"):
        base_dir(tmp_path / "model.tar.gz", RunDir(tmp_path / "run"))
