"""Virtual environments for the user's requirements, with real pip and wheels that are made here."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tfsd.start.environments import RequirementsError, prepare


def make_wheel(directory: Path, name: str, version: str) -> None:
    """A wheel with one module of that name, which knows its version."""
    directory.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


def versions(python: str, *modules: str) -> list[str]:
    code = "import importlib; " + "; ".join(
        f"print(getattr(importlib.import_module({name!r}), '__version__', ''))" for name in modules
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd="/", check=True)
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Requirements: a package of its own, and one that we have too in another version."""
    directory = tmp_path_factory.mktemp("code")
    make_wheel(directory / "wheels", "tfsd_test_package", "1.2")
    make_wheel(directory / "wheels", "bottle", "99.0")
    (directory / "requirements.txt").write_text(
        "--no-index\n--find-links wheels\n-r more.txt\nbottle==99.0\n"
    )
    (directory / "more.txt").write_text("tfsd_test_package\n")
    return directory


@pytest.fixture(scope="module")
def python(code: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return prepare(tmp_path_factory.mktemp("environments") / "worker-half", code / "requirements.txt")


@pytest.fixture
def moved(code: Path, python: str, tmp_path: Path) -> tuple[Path, Path]:
    """(environment, source directory) as above, but without the wheels: pip would fail."""
    environment = Path(python).parents[1]
    source = tmp_path / "code"
    shutil.copytree(code, source, ignore=shutil.ignore_patterns("wheels"))
    return environment, source


def test_requirements_are_installed_and_ours_are_visible(python: str) -> None:
    assert versions(python, "tfsd_test_package", "requests", "tfsd.worker")[0] == "1.2"


def test_a_requirements_version_is_preferred_to_ours(python: str) -> None:
    assert versions(python, "bottle") == ["99.0"]


def test_the_second_time_nothing_is_installed(moved: tuple[Path, Path], python: str) -> None:
    environment, source = moved
    assert prepare(environment, source / "requirements.txt") == python
    assert versions(python, "tfsd_test_package") == ["1.2"]


def test_nothing_is_written_beside_the_requirements(code: Path, python: str) -> None:
    assert sorted(path.name for path in code.iterdir()) == ["more.txt", "requirements.txt", "wheels"]


def test_requirements_that_have_changed_are_installed_anew(moved: tuple[Path, Path], tmp_path: Path) -> None:
    """Also those of a file that the first one includes. What fails here is pip, which finds no wheel."""
    environment, source = moved
    copy = tmp_path / "environment"
    shutil.copytree(environment, copy, symlinks=True)
    (source / "more.txt").write_text("tfsd_test_package==2.0\n")
    for _ in range(2):  # a failure leaves nothing that could be taken for a success
        with pytest.raises(RequirementsError) as error:
            prepare(copy, source / "requirements.txt")
        message = str(error.value)
        assert message.startswith(f"cannot install {source}/requirements.txt: ")
        assert "has no tfsd_test_package==2.0" in message
        assert "\n" not in message


def test_the_documentation_says_which_versions_of_ours_user_code_may_bring() -> None:
    text = (Path(__file__).parents[3] / "docs/reference/model-directory.md").read_text()
    for requirement in importlib.metadata.requires("tfsd") or ():
        if "extra ==" not in requirement:
            name, low, high = re.fullmatch(r"([\w.-]+)<([\d.]+),>=([\d.]+)", requirement).group(1, 3, 2)  # type: ignore[union-attr]
            assert f"{name} {low} to {high}" in text
