"""The user's code: script, source directory, lib and requirements, as SageMaker's clients lay and name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfsd.model_directory import ModelError, UserCode, find_user_code
from tfsd.settings import Settings


@pytest.fixture
def code(tmp_path: Path) -> Path:
    directory = tmp_path / "model/code"
    directory.mkdir(parents=True)
    return directory


def find(default_dir: Path, **environ: str) -> UserCode | None:
    return find_user_code(default_dir, Settings.from_environ(environ, cpus=1))


def refusal(default_dir: Path, **environ: str) -> str:
    with pytest.raises(ModelError) as error:
        find(default_dir, **environ)
    return str(error.value)


def test_inference_py_is_the_script(code: Path) -> None:
    (code / "inference.py").touch()
    found = find(code)
    assert found == UserCode(code, code / "inference.py")
    assert found.python_path == (str(code),)


@pytest.mark.parametrize("extra", ["requirements.txt", "lib/module.py", "other.py"])
def test_without_a_script_the_converter_serves(code: Path, extra: str) -> None:
    (code / extra).parent.mkdir(exist_ok=True)
    (code / extra).touch()
    assert find(code) is None


def test_no_code_directory_is_no_code(tmp_path: Path) -> None:
    assert find(tmp_path / "missing") is None


def test_lib_comes_first_on_the_path(code: Path) -> None:
    (code / "inference.py").touch()
    (code / "lib").mkdir()
    found = find(code)
    assert found is not None
    assert found.lib == code / "lib"
    assert found.python_path == (str(code / "lib"), str(code))


class TestRequirements:
    """The precedence of the first container, and the file that the SDK puts into `code/lib`."""

    def requirements(self, code: Path, *paths: str, **environ: str) -> Path | None:
        for path in ("inference.py", *paths):
            (code / path).parent.mkdir(exist_ok=True)
            (code / path).touch()
        found = find(code, **environ)
        assert found is not None
        return found.requirements

    def test_beside_the_script(self, code: Path) -> None:
        assert self.requirements(code, "requirements.txt") == code / "requirements.txt"

    def test_not_installed_with_lib(self, code: Path) -> None:
        assert self.requirements(code, "requirements.txt", "lib/module.py") is None

    def test_in_lib(self, code: Path) -> None:
        found = self.requirements(code, "requirements.txt", "lib/requirements.txt")
        assert found == code / "lib/requirements.txt"

    def test_named(self, code: Path) -> None:
        found = self.requirements(
            code, "requirements.txt", "lib/module.py", "deps/prod.txt", SAGEMAKER_REQUIREMENTS="deps/prod.txt"
        )
        assert found == code / "deps/prod.txt"

    def test_named_and_missing(self, code: Path) -> None:
        (code / "inference.py").touch()
        message = refusal(code, SAGEMAKER_REQUIREMENTS="prod.txt")
        assert "SAGEMAKER_REQUIREMENTS=prod.txt" in message
        assert str(code) in message


def test_program_and_submit_directory(code: Path, tmp_path: Path) -> None:
    """As ModelBuilder sends them, and with a file URL."""
    source = tmp_path / "elsewhere"
    source.mkdir()
    (source / "serve me.py").touch()
    for directory in (str(source), f"file://{source}"):
        found = find(code, SAGEMAKER_PROGRAM="serve me.py", SAGEMAKER_SUBMIT_DIRECTORY=directory)
        assert found == UserCode(source, source / "serve me.py")


def test_submit_directory_may_be_the_default_one(code: Path) -> None:
    (code / "inference.py").touch()
    assert find(code, SAGEMAKER_SUBMIT_DIRECTORY=str(code)) == find(code)


def test_a_submit_directory_may_be_relative(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers, and the check before them, do not run where `serve` was called."""
    monkeypatch.chdir(tmp_path)
    (code / "inference.py").touch()
    for directory in ("model/code", "file://model/code"):
        found = find(tmp_path / "elsewhere", SAGEMAKER_SUBMIT_DIRECTORY=directory)
        assert found == UserCode(code, code / "inference.py")
    assert find(Path("model/code")) == UserCode(code, code / "inference.py")


def test_a_submit_directory_that_is_not_there(code: Path) -> None:
    assert "SAGEMAKER_SUBMIT_DIRECTORY=/nowhere" in refusal(code, SAGEMAKER_SUBMIT_DIRECTORY="/nowhere")


def test_a_program_that_is_not_there(code: Path) -> None:
    assert "no Python file" in refusal(code, SAGEMAKER_PROGRAM="main.py")
    for name in ("inference.py", "helpers.py"):
        (code / name).touch()
    message = refusal(code, SAGEMAKER_PROGRAM="main.py")
    assert "SAGEMAKER_PROGRAM=main.py" in message
    assert "helpers.py, inference.py" in message


def test_a_program_may_belong_to_the_models_own_code(tmp_path: Path) -> None:
    assert find(tmp_path / "missing", SAGEMAKER_PROGRAM="main.py") is None
