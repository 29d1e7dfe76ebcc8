"""Laying out model directories with user code."""

from __future__ import annotations

from pathlib import Path


def add_model(directory: Path, name: str, saved_models: Path, script: Path | str | None = None) -> Path:
    """Link all versions in `saved_models` as the model `name`, with `script` (a file, or its text) as its code.

    `name` may be a path, whose last part is then the model's name. Returns the model's directory.
    """
    model = directory / name
    model.mkdir(parents=True)
    for version in saved_models.iterdir():
        (model / version.name).symlink_to(version)
    if script is not None:
        (model / "code").mkdir()
        text = script.read_text() if isinstance(script, Path) else script
        (model / "code" / "inference.py").write_text(text)
    return model
