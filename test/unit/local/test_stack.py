"""What `bin/local serve` makes of its model argument."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from tfsd.errors import StartError
from tfsd.local.model_argument import base_dir
from tfsd.local.stack import serve
from tfsd.model_directory import find_models
from tfsd.run_dir import RunDir


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "my model"
    (directory / "half/1").mkdir(parents=True)
    (directory / "half/1/saved_model.pb").touch()
    return directory


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


def names(base: Path) -> list[str]:
    return [model.name for model in find_models((base / "model").resolve())]


def test_a_directory_is_served_from_where_it_is(model: Path, run_dir: RunDir) -> None:
    base = base_dir(model, run_dir)
    assert names(base) == ["half"]
    assert (base / "model").resolve() == model


@pytest.mark.parametrize("suffix", ["gz", "bz2", "", "xz"])
def test_an_archive_is_unpacked_into_the_run_directory(model: Path, run_dir: RunDir, suffix: str) -> None:
    """With `./` member names and no top directory, as the SDK makes it."""
    archive = model.parent / f"model.tar.{suffix}"
    with tarfile.open(archive, f"w:{suffix}") as tar:  # type: ignore[call-overload]
        tar.add(model, ".")
    base = base_dir(archive, run_dir)
    assert names(base) == ["half"]
    assert base.is_relative_to(run_dir)


def test_the_model_of_an_earlier_run_is_replaced_and_not_followed(model: Path, run_dir: RunDir) -> None:
    archive = model.parent / "other.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(model / "half/1", "other/1")
    base_dir(model, run_dir)
    assert names(base_dir(archive, run_dir)) == ["other"]
    assert names(base_dir(model, run_dir)) == ["half"]
    assert (model / "half/1/saved_model.pb").is_file()


def test_a_model_that_is_not_there(run_dir: RunDir) -> None:
    with pytest.raises(StartError, match="/nowhere does not exist"):
        serve(Path("/nowhere"), run_dir, {})


def test_a_file_that_is_no_archive(model: Path, run_dir: RunDir) -> None:
    with pytest.raises(StartError, match=r"saved_model\.pb is one file of a SavedModel"):
        serve(model / "half/1/saved_model.pb", run_dir, {})


def test_an_archive_that_ends_too_early(model: Path, run_dir: RunDir, tmp_path: Path) -> None:
    (model / "weights").write_bytes(os.urandom(100_000))
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(model, ".")
    archive.write_bytes(archive.read_bytes()[:50_000])
    with pytest.raises(StartError, match=r"model\.tar\.gz"):
        serve(archive, run_dir, {})


def test_an_archive_that_reaches_outside(model: Path, run_dir: RunDir) -> None:
    archive = model.parent / "evil.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(model / "half/1/saved_model.pb", "../../evil")
    with pytest.raises(StartError):
        serve(archive, run_dir, {})
    assert not (run_dir.path / "evil").exists()


def test_bad_variables_are_all_named(model: Path, run_dir: RunDir) -> None:
    with pytest.raises(StartError, match=r"SAGEMAKER_BATCH.*OMP_NUM_THREADS"):
        serve(model, run_dir, {"SAGEMAKER_BATCH": "maybe", "OMP_NUM_THREADS": "none"})


@pytest.mark.parametrize(("given", "seconds"), [(None, 30), ("5", 30), ("120.5", 120.5)])
def test_a_stack_has_the_time_to_stop_that_it_is_told_of(
    model: Path, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch, given: str | None, seconds: float
) -> None:
    class Started(Exception):
        """In place of a child process."""

    def start(*words: object, stop_seconds: float, **more: object) -> None:
        assert stop_seconds == seconds
        raise Started

    monkeypatch.setattr("tfsd.local.stack.Child", start)
    with pytest.raises(Started):
        serve(model, run_dir, {"SAGEMAKER_TFS_STOP_SECONDS": given} if given else {})
