"""The model that `bin/local serve` is given: a directory or an archive, laid as the platform would lay it."""

from __future__ import annotations

from pathlib import Path

from backports import tarfile

from tfsd.errors import StartError
from tfsd.model_directory import KERAS_SUFFIXES, SAVED_MODEL_FILES
from tfsd.run_dir import RunDir, remove
from tfsd.start.archives import ArchiveError, unpack


class ModelArgumentError(StartError):
    """What was given cannot be served; the text names it and says what to give instead."""


def base_dir(model: Path, run_dir: RunDir) -> Path:
    """A directory whose `model/` is the model, for SAGEMAKER_BASE_DIR. Raises ModelArgumentError, OSError."""
    if not model.exists():
        raise ModelArgumentError(f"{model} does not exist")
    if not model.is_dir():
        _refuse_other_files(model)
    target = run_dir.base / "model"
    run_dir.base.mkdir(parents=True, exist_ok=True)
    remove(target)
    if model.is_dir():
        target.symlink_to(model.resolve())
        return run_dir.base
    try:
        unpack(model, target)
    except ArchiveError as error:
        raise ModelArgumentError(f"{model} {error}") from error
    return run_dir.base


def _refuse_other_files(model: Path) -> None:
    """Raises ModelArgumentError for a file that is no tar archive, by what it seems to be."""
    if model.suffix.lower() in KERAS_SUFFIXES:
        raise ModelArgumentError(
            f"{model} is a Keras file; load it, write it with model.export('DIR/1'), and give DIR"
        )
    if model.suffix.lower() == ".zip":
        raise ModelArgumentError(f"{model} is a zip archive; unpack it and give the directory")
    if model.name in SAVED_MODEL_FILES:
        raise ModelArgumentError(
            f"{model} is one file of a SavedModel, which lies in a directory with a number for its version; "
            "give the directory above that one"
        )
    if not tarfile.is_tarfile(model):
        raise ModelArgumentError(f"{model} is neither a directory nor a tar archive")
