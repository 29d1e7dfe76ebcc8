"""Finding SavedModels, their versions and the user's code in a model directory (contract section 7).

Reads directories and never writes to them; what it finds is described, not loaded.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from tfsd.errors import StartError, os_problem
from tfsd.plan import MAX_VERSION
from tfsd.settings import Settings

SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
KERAS_SUFFIXES = (".h5", ".hdf5", ".keras")
ROOT_MODEL_NAME = "model"  # of version directories that lie in the model directory itself
CODE_DIRECTORY = "code"
UNUSABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # in a path; surrogates stand for what is not UTF-8
PATTERN = re.compile(
    r"[\[\\]"
)  # RestoreV2 looks for variables with its path as a pattern; * and ? match themselves


class ModelError(StartError):
    """The model directory cannot be served; the text says what was found and what is wanted."""


@dataclasses.dataclass(frozen=True)
class FoundModel:
    """A servable in the file system: `base_path` holds its version directories; `versions` ascend."""

    name: str
    base_path: Path
    versions: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class UserCode:
    """The user's script and what it needs. `lib` and `requirements` are None where there are none."""

    source_dir: Path
    script: Path
    lib: Path | None = None
    requirements: Path | None = None

    @property
    def python_path(self) -> tuple[str, ...]:
        """What comes first on `sys.path`: `code/lib`, then the source directory."""
        return tuple(str(path) for path in (self.lib, self.source_dir) if path)


@dataclasses.dataclass(frozen=True)
class Code:
    """User code that is ready to run: `python` has its requirements installed."""

    user_code: UserCode
    python: str


def find_models(
    model_dir: Path, newest: int | None = None, root_name: str = ROOT_MODEL_NAME
) -> tuple[FoundModel, ...]:
    """All servables below `model_dir`, by name, with all versions or so many of the newest.

    `root_name` is what the model is called whose version directories lie in `model_dir` itself, if no other is.
    Raises ModelError when there is none (saying what is there instead), when two directories mean the same
    version of a model, when two directories hold models of the same name, or when a path cannot be written
    in a configuration file or is a pattern for TensorFlow.
    """
    found: dict[str, FoundModel] = {}
    directories = list(_version_directories(model_dir))
    if any(base_path.name == root_name for base_path, _ in directories if base_path != model_dir):
        root_name = ROOT_MODEL_NAME
    for base_path, versions in directories:
        if UNUSABLE.search(str(base_path)):
            raise ModelError(f"{str(base_path)!r} has a control character or is not UTF-8; rename it")
        if PATTERN.search(str(base_path)):
            raise ModelError(f"{base_path} has [ or \\, which TensorFlow takes for a pattern; rename it")
        name = root_name if base_path == model_dir else base_path.name
        if name in found:
            raise ModelError(
                f"two directories hold a model {name!r}: {found[name].base_path} and {base_path}; rename one"
            )
        kept = _distinct(base_path, versions)[-(newest or 0) :]
        found[name] = FoundModel(name, base_path, kept)
    if not found:
        raise ModelError(_nothing_to_serve(model_dir))
    return tuple(found[name] for name in sorted(found))


def version_of(name: str) -> int | None:
    """The version that a directory name means, None for one that means none. `00000123` is version 123."""
    if not (name.isascii() and name.isdigit()) or int(name) > MAX_VERSION:
        return None
    return int(name)


def is_saved_model(directory: Path) -> bool:
    return any(os.path.isfile(directory / name) for name in SAVED_MODEL_FILES)


def _version_directories(model_dir: Path) -> Iterator[tuple[Path, list[str]]]:
    """(directory, names of its version directories) of all directories that have any."""
    for directory, names in _walk(model_dir):
        versions = [
            name for name in names if version_of(name) is not None and is_saved_model(directory / name)
        ]
        if versions:
            yield directory, versions


def _walk(model_dir: Path) -> Iterator[tuple[Path, list[str]]]:
    """(directory, names of its directories) from `model_dir` down, but not hidden ones, `code/` or loops.

    Links come last, so that a model keeps its own name when a link to it lies beside it.
    """
    seen: set[str] = set()
    directories, links = deque([model_dir]), deque[Path]()
    while directories or links:
        directory = (directories or links).popleft()
        real = os.path.realpath(directory)
        if real in seen or is_saved_model(directory):
            continue
        seen.add(real)
        names = [name for name in _subdirectories(directory) if not _is_code(directory / name)]
        yield directory, names
        for name in names:
            (links if (directory / name).is_symlink() else directories).append(directory / name)


def _subdirectories(directory: Path) -> list[str]:
    """Names of the directories in `directory` that are not hidden; none when it may not be read."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    return [name for name in names if not name.startswith(".") and os.path.isdir(directory / name)]


def _is_code(directory: Path) -> bool:
    """Whether `directory` holds the user's code; a model may be called `code` too, but has no script in it."""
    if directory.name != CODE_DIRECTORY:
        return False
    return any(directory.glob("*.py")) or not any(
        version_of(name) is not None and is_saved_model(directory / name)
        for name in _subdirectories(directory)
    )


def _distinct(base_path: Path, names: list[str]) -> tuple[int, ...]:
    by_version: dict[int, str] = {}
    for name in names:
        version = int(name)
        if version in by_version:
            raise ModelError(
                f"directories {by_version[version]!r} and {name!r} of {base_path} both mean version {version}"
            )
        by_version[version] = name
    return tuple(sorted(by_version))


def _nothing_to_serve(model_dir: Path) -> str:
    """One line that says what `model_dir` has in place of a SavedModel."""
    wanted = "a SavedModel must lie at <name>/<version>/saved_model.pb, with a number for the version"
    if not model_dir.is_dir():
        what = "is a file" if model_dir.exists() else "does not exist"
        return f"no SavedModel: {model_dir} {what}; {wanted}"
    keras: list[str] = []
    refused: list[OSError] = []
    for path, names, files in os.walk(model_dir, onerror=refused.append):
        names[:] = [name for name in names if not name.startswith(".")]
        if not set(files).isdisjoint(SAVED_MODEL_FILES):
            place = os.path.relpath(path, model_dir)
            return f"no version directory: {place!r} of {model_dir} has a saved_model.pb, but {wanted}"
        keras += [os.path.join(path, name) for name in files if name.lower().endswith(KERAS_SUFFIXES)]
    if refused:
        return f"no SavedModel that can be read: {os_problem(refused[0])}"
    if keras:
        return f"no SavedModel: {_shown(keras[0])} is a Keras file; export it with model.export(), because {wanted}"
    entries = sorted(_shown(entry.name) for entry in model_dir.iterdir())
    listed = ", ".join(entries[:8]) + (", …" if len(entries) > 8 else "")
    return f"no SavedModel in {model_dir}, which {'has ' + listed if entries else 'is empty'}; {wanted}"


def _shown(path: str) -> str:
    return repr(path) if UNUSABLE.search(path) else path


def find_user_code(default_dir: Path, settings: Settings) -> UserCode | None:
    """The user's code, by SAGEMAKER_SUBMIT_DIRECTORY, SAGEMAKER_PROGRAM and SAGEMAKER_REQUIREMENTS.

    `default_dir` is where it lies when SAGEMAKER_SUBMIT_DIRECTORY is not set. None when there is no script:
    then the converter serves. With a `lib` directory, `requirements.txt` beside the script is not installed
    (the pre-downloaded modules are the user's word), but one inside `lib` is: the SageMaker SDK puts it
    there.
    Raises ModelError when a file that a variable names is missing.
    """
    # absolute: neither the check of the script nor the workers run where `serve` was called
    source_dir = Path((settings.submit_directory or str(default_dir)).removeprefix("file://")).absolute()
    if settings.submit_directory and source_dir != default_dir and not source_dir.is_dir():
        raise ModelError(
            f"SAGEMAKER_SUBMIT_DIRECTORY={settings.submit_directory} is neither a directory nor an archive"
        )
    script = source_dir / settings.program
    if not script.is_file():
        if settings.program != Settings.program and source_dir.is_dir():
            there = ", ".join(sorted(path.name for path in source_dir.glob("*.py"))) or "no Python file"
            raise ModelError(
                f"SAGEMAKER_PROGRAM={settings.program} is not in {source_dir}, which has {there}"
            )
        return None
    lib = source_dir / "lib"
    return UserCode(
        source_dir=source_dir,
        script=script,
        lib=lib if lib.is_dir() else None,
        requirements=_requirements(source_dir, lib, settings),
    )


def _requirements(source_dir: Path, lib: Path, settings: Settings) -> Path | None:
    if settings.requirements:
        path = source_dir / settings.requirements
        if not path.is_file():
            raise ModelError(f"SAGEMAKER_REQUIREMENTS={settings.requirements} is not in {source_dir}")
        return path
    path = (lib if lib.is_dir() else source_dir) / "requirements.txt"
    return path if path.is_file() else None
