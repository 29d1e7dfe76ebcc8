"""The process that makes a model's code ready: what its end tells control."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from tfsd.control.models.code_preparation import CodeError, NoRoomForCode, prepare
from tfsd.model_directory import UserCode
from tfsd.run_dir import RunDir

HANDLER = "def handler(data, context):\n    return data.read()\n"
KILLED = "import os, signal\nos.kill({whom}, signal.SIGKILL)\n"
FULL_PIP = """
import sys
print("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device")
sys.exit(1)
"""


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    (tmp_path / "run").mkdir()
    return RunDir(tmp_path / "run")


def made_ready(run_dir: RunDir, script: str, requirements: str | None = None) -> str:
    code = run_dir.path.parent / "code"
    code.mkdir()
    (code / "inference.py").write_text(script)
    found = UserCode(code, code / "inference.py")
    if requirements is not None:
        found = dataclasses.replace(found, requirements=code / "requirements.txt")
        (code / "requirements.txt").write_text(requirements)
    return prepare(found, run_dir.environment("worker-m"), run_dir, lambda group: None).python


def lay_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Have a pip of ours found before the real one."""
    (tmp_path / "modules/pip").mkdir(parents=True)
    (tmp_path / "modules/pip/__init__.py").touch()
    (tmp_path / "modules/pip/__main__.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'modules'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def test_code_is_made_ready(run_dir: RunDir) -> None:
    assert Path(made_ready(run_dir, HANDLER)).exists()


def test_a_check_that_the_kernel_kills_is_a_lack_of_memory(run_dir: RunDir) -> None:
    with pytest.raises(NoRoomForCode, match="memory runs out"):
        made_ready(run_dir, KILLED.format(whom="os.getpid()"))


def test_a_helper_that_the_kernel_kills_is_a_lack_of_memory(
    run_dir: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_pip(tmp_path, monkeypatch, KILLED.format(whom="os.getppid()"))
    with pytest.raises(NoRoomForCode, match="memory runs out"):
        made_ready(run_dir, HANDLER, "whatever\n")


def test_a_script_that_fails_is_none(run_dir: RunDir) -> None:
    with pytest.raises(CodeError, match="ZeroDivisionError") as raised:
        made_ready(run_dir, "1 / 0")
    assert not isinstance(raised.value, NoRoomForCode)


def test_a_pip_without_room_on_its_disk_is_a_lack_of_disk(
    run_dir: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_pip(tmp_path, monkeypatch, FULL_PIP)
    with pytest.raises(NoRoomForCode, match="The disk is full"):
        made_ready(run_dir, HANDLER, "whatever\n")
