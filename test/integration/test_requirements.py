"""The user's requirements and pre-downloaded modules, with a local wheel in place of a package index."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.stack import RunningStack

SCRIPT = """
import json, shade

def handler(data, context):
    return json.dumps({"shade": shade.NAME, "file": shade.__file__}), "application/json"
"""
MODELS = ("installed", "downloaded", "by_sdk")


def make_wheel(directory: Path, name: str, version: str, code: str) -> None:
    """A wheel of one module."""
    directory.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", code)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


@pytest.fixture
def model_dir(models: Path, tmp_path: Path) -> Path:
    """A model for each way to bring the module `shade`: their own code asks for different ones."""
    wheels = tmp_path / "wheels"
    for version in ("1.0", "2.0"):
        make_wheel(wheels, "shade", version, f"NAME = 'wheel {version}'\n")
    index = f"--no-index\n--find-links {wheels}\n"
    files = {
        "installed/code/requirements.txt": index + "shade==1.0\n",
        "downloaded/code/requirements.txt": "--no-index\nno-such-package-at-all\n",
        "downloaded/code/lib/shade.py": "NAME = 'lib'\n",
        "by_sdk/code/lib/requirements.txt": index + "shade==2.0\n",
        "by_sdk/code/lib/helper.py": "",
    }
    directory = tmp_path / "model"
    for name in MODELS:
        shutil.copytree(models / "half_plus_two" / "123", directory / name / "1")
        files[f"{name}/code/inference.py"] = SCRIPT
    for path, text in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text)
    return directory


@pytest.fixture
def stack(model_dir: Path, tmp_path: Path, quick_model_server: Path) -> Iterator[RunningStack]:
    environ = {
        "SAGEMAKER_TFS_BINARY": str(quick_model_server),
        "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
        "PYTHONDONTWRITEBYTECODE": "",
    }
    with RunningStack(tmp_path / "stack", model_dir, environ) as running:
        yield running


def shade(stack: RunningStack, model: str) -> dict[str, str]:
    return stack.invoke("", attributes=f"tfs-model-name={model}").json()


def test_each_pool_has_its_own_and_a_second_start_installs_nothing(
    stack: RunningStack, model_dir: Path, tmp_path: Path
) -> None:
    names = {"installed": "wheel 1.0", "downloaded": "lib", "by_sdk": "wheel 2.0"}
    assert {model: shade(stack, model)["shade"] for model in MODELS} == names
    for model in ("installed", "by_sdk"):
        assert shade(stack, model)["file"].startswith(str(stack.run_dir))
    assert "no-such-package-at-all" not in stack.log_text()
    assert not list(model_dir.rglob("__pycache__"))

    stack.stop()
    shutil.rmtree(tmp_path / "wheels")
    stack.start()
    stack.wait_until_healthy()
    assert {model: shade(stack, model)["shade"] for model in MODELS} == names
    assert stack.log_text().count("are installed already") == 2


def test_requirements_that_fail_end_the_start_with_what_pip_says(
    models: Path, tmp_path: Path, quick_model_server: Path
) -> None:
    model_dir = tmp_path / "model"
    shutil.copytree(models / "half_plus_two", model_dir / "half_plus_two")
    (model_dir / "code").mkdir()
    (model_dir / "code" / "inference.py").write_text(SCRIPT)
    (model_dir / "code" / "requirements.txt").write_text("--no-index\nno-such-package-at-all==7\n")
    stack = RunningStack(tmp_path / "stack", model_dir, {"SAGEMAKER_TFS_BINARY": str(quick_model_server)})
    status, lines = stack.refusal()
    assert status == 1
    [refusal] = [line for line in lines if line.startswith("serve: ")]
    assert refusal.startswith("serve: cannot install ")
    assert "The package index has no no-such-package-at-all==7" in refusal
    assert any("No matching distribution found for no-such-package-at-all==7" in line for line in lines)


def test_requirements_that_replace_what_the_worker_needs_end_the_start(
    models: Path, tmp_path: Path, quick_model_server: Path
) -> None:
    """As `protobuf==4.25.8` beside an `input_fn` does: the script imports, and the worker cannot be built."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    info = "protobuf-4.25.8.dist-info"
    with zipfile.ZipFile(wheels / "protobuf-4.25.8-py3-none-any.whl", "w") as wheel:
        wheel.writestr("google/protobuf/__init__.py", "__version__ = '4.25.8'\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: protobuf\nVersion: 4.25.8\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "google/protobuf/__init__.py,,\n")
    model_dir = tmp_path / "model"
    shutil.copytree(models / "half_plus_two", model_dir / "half_plus_two")
    (model_dir / "code").mkdir()
    (model_dir / "code" / "inference.py").write_text("def input_fn(data, content_type):\n    return data\n")
    (model_dir / "code" / "requirements.txt").write_text(
        f"--no-index\n--find-links {wheels}\nprotobuf==4.25.8\n"
    )
    stack = RunningStack(tmp_path / "stack", model_dir, {"SAGEMAKER_TFS_BINARY": str(quick_model_server)})
    status, lines = stack.refusal()
    assert status == 1
    [refusal] = [line for line in lines if line.startswith("serve: ")]
    assert "brings protobuf 4.25.8 in place of " in refusal
    assert "the worker does not start with it: " in refusal
