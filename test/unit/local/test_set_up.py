"""The environment of bin/local: made anew when it is half made, and one line when it cannot be made."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tfsd.local import set_up
from tfsd.local.progress import Progress

ROOT = Path(__file__).parents[3]
LOCAL = ROOT / "bin" / "local"


@pytest.mark.parametrize("version", [(3, 4), (3, 6), (3, 8)])
def test_an_old_python_can_read_the_script(version: tuple[int, int]) -> None:
    tree = ast.parse(LOCAL.read_text(), feature_version=version)
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr | ast.AnnAssign)]
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported == {"os", "sys"}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The script, beside which there is no environment."""
    path = tmp_path / "bin" / "local"
    path.parent.mkdir()
    path.write_bytes(LOCAL.read_bytes())
    return path


def run_in_old_python(script: Path, path: str) -> subprocess.CompletedProcess[str]:
    """Run bin/local in an interpreter that says that it is of version 3.8.1."""
    code = (
        f"import runpy, sys; sys.version_info = (3, 8, 1); sys.version = '3.8.1 (old)'; "
        f"sys.argv = ['bin/local', 'exec', 'true']; runpy.run_path({str(script)!r}, run_name='__main__')"
    )
    return subprocess.run([sys.executable, "-c", code], env={"PATH": path}, capture_output=True, text=True)


def test_an_old_python_says_which_one_is_needed(copy: Path, tmp_path: Path) -> None:
    done = run_in_old_python(copy, str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("bin/local: Python 3.11 or later is needed; this is 3.8.1 at ")
    assert done.stderr.count("\n") == 1


def test_an_old_python_hands_over_to_a_newer_one_that_is_there(copy: Path, tmp_path: Path) -> None:
    newer = tmp_path / "python3.12"
    newer.write_text('#!/bin/sh\necho "newer: $*"\n')
    newer.chmod(0o755)
    assert run_in_old_python(copy, str(tmp_path)).stdout == f"newer: {copy} exec true\n"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / ".venv"
    monkeypatch.setattr(set_up, "ENVIRONMENT", directory)
    monkeypatch.setattr(set_up, "PYTHON", directory / "bin" / "python")
    monkeypatch.setattr(set_up, "LOG", directory / "pip.log")
    monkeypatch.setattr(set_up, "LOCKED", directory / "requirements.txt")
    return directory


def test_a_half_made_environment_is_made_anew(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ctrl-C leaves it while ensurepip runs: an interpreter without pip. That one, which takes seconds, runs
    whenever these tests' own environment is made; here pip is a stub."""
    without_pip = [sys.executable, "-m", "venv", "--without-pip", str(environment)]
    subprocess.run(without_pip, check=True)
    (environment / "half").touch()
    assert not set_up.has_pip()
    installed: list[list[str]] = []

    def run(command: list[str], progress: Progress) -> int:
        assert command == [sys.executable, "-m", "venv", str(environment)]
        subprocess.run(without_pip, check=True)
        [packages] = environment.glob("lib/python3*/site-packages")
        (packages / "pip.py").touch()
        return 0

    def pip(progress: Progress, *arguments: str, bar: str = "raw") -> None:
        if "--require-hashes" in arguments:
            names = re.findall("^(.*)==", Path(arguments[-1]).read_text(), re.MULTILINE)
        else:
            names = [arguments[-1]]
        installed.append(names)

    monkeypatch.setattr(set_up, "run", run)
    monkeypatch.setattr(set_up, "pip", pip)
    set_up.set_up([])
    assert set_up.has_pip()
    assert not (environment / "half").exists()
    assert installed[:2] == [["pip"], ["uv"]]
    assert {"bottle", "setuptools", "tensorflow-serving-api"} < set(installed[2])
    assert not {"tensorflow", "tensorflow-cpu", "pytest", "pip", "uv"} & set(installed[2])
    assert installed[3] == [str(ROOT)]
    assert set_up.is_installed("")


def test_what_is_added_later_leaves_the_package_alone(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stack that is running from the environment imports it: its workers are restarted."""
    installed: list[tuple[str, ...]] = []
    monkeypatch.setattr(set_up, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(set_up, "pip", lambda progress, *arguments, bar="raw": installed.append(arguments))
    monkeypatch.setattr(set_up, "run", lambda command, progress: 1)
    environment.mkdir()
    set_up.set_up([])
    assert "--editable" in installed[-1]

    installed.clear()
    set_up.set_up(["docs"])
    assert installed
    assert not any("--editable" in arguments for arguments in installed)
    assert set_up.is_installed("docs")


class Tried:
    """Stands for pip and uv, and notes what they install. `uv` is uv's status, `has_uv` whether it can be had."""

    def __init__(self, environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.uv, self.has_uv = 0, True
        self.done: list[tuple[str, set[str]]] = []
        environment.mkdir()
        monkeypatch.setattr(set_up, "PYTHON", Path(sys.executable))
        monkeypatch.setattr(set_up, "run", self._run)
        monkeypatch.setattr(set_up, "pip", self._pip)
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")

    def _run(self, command: list[str], progress: Progress) -> int:
        progress.show("error: uv says why")
        self.command = command
        self._note("uv", command)
        return self.uv

    def _pip(self, progress: Progress, *arguments: str, bar: str = "raw") -> None:
        self._note("pip", arguments)
        if "uv" in self.done[-1][1] and not self.has_uv:
            raise set_up.SetUpError("no uv")

    def _note(self, who: str, arguments: Sequence[str]) -> None:
        if "--require-hashes" in arguments:
            names = re.findall("^(.*)==", Path(arguments[-1]).read_text(), re.MULTILINE)
            self.done.append((who, set(names)))

    def by(self, who: str) -> set[str]:
        """What one of them was asked to install."""
        return set().union(*(names for asked, names in self.done if asked == who))


@pytest.fixture
def tried(environment: Path, monkeypatch: pytest.MonkeyPatch) -> Tried:
    return Tried(environment, monkeypatch)


def test_uv_installs_from_where_pip_would(tried: Tried) -> None:
    set_up.set_up(["embedded"])
    assert {"bottle", "tensorflow-cpu"} < tried.by("uv")
    assert tried.by("pip") == {"pip", "uv"}
    assert tried.command[1:5] == ["pip", "install", "--python", sys.executable]
    at = tried.command.index("--index-url")
    assert tried.command[at + 1] == "https://index.example/simple"
    assert {"--require-hashes", "--no-deps"} < set(tried.command)


@pytest.mark.parametrize("why", ["it fails", "the index has none", "pip is told what it has no word for"])
def test_what_uv_cannot_do_pip_does(tried: Tried, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    tried.uv, tried.has_uv = int(why == "it fails"), why != "the index has none"
    if why.startswith("pip"):
        monkeypatch.setenv("PIP_CLIENT_CERT", "/client.pem")
    assert not set_up.installed_by_uv(progress := Progress("installing", io.StringIO()), ["base"])
    assert progress.lines == []  # pip is to tell what is wrong, if anything is
    set_up.set_up(["embedded"])
    assert {"bottle", "tensorflow-cpu"} < tried.by("pip")
    assert (tried.by("uv") == set()) == (why != "it fails")


def test_no_network_is_one_line(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment.mkdir()
    monkeypatch.setattr(set_up, "PYTHON", Path(sys.executable))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(set_up.SetUpError) as caught:
        set_up.pip(Progress("installing", io.StringIO()), "no-such-package-at-all")
    assert re.fullmatch(
        "The package index cannot be reached: .* All that pip says is in .*pip.log.", str(caught.value)
    )
    assert "no-such-package-at-all" in (environment / "pip.log").read_text()


def test_another_file_than_the_locked_one_is_refused(
    environment: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As a package index gives it that somebody has meddled with."""
    environment.mkdir()
    write_wheel(tmp_path / "index" / "bottle-0.13.4-py3-none-any.whl")
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"# for base\nbottle==0.13.4 \\\n    --hash=sha256:{'0' * 64}\n")
    monkeypatch.setattr(set_up, "LOCK", lock)
    monkeypatch.setattr(set_up, "PYTHON", Path(sys.executable))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "installed"))
    with pytest.raises(set_up.SetUpError) as caught:
        set_up.install_locked(Progress("installing", io.StringIO()), ["base"])
    assert str(caught.value).startswith(
        "The package index gives another file of bottle==0.13.4 than the one that was locked: "
    )
    assert not (tmp_path / "installed").exists()


def write_wheel(path: Path) -> None:
    path.parent.mkdir()
    name = path.name.removesuffix("-py3-none-any.whl")
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{name}.dist-info/METADATA", "Metadata-Version: 2.1\nName: bottle\nVersion: 0.13.4\n")
        wheel.writestr(f"{name}.dist-info/RECORD", "")


def test_what_the_system_refuses_is_one_line(
    environment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(extras: object) -> None:
        raise PermissionError(13, os.strerror(13), str(environment))

    monkeypatch.setattr(set_up, "set_up", refuse)
    assert set_up.main(["serve"]) == 1
    assert (
        capsys.readouterr().err
        == f"bin/local: {environment}: Permission denied; look at its permissions; this is user id {os.geteuid()}.\n"
    )


@pytest.mark.parametrize("keeps_nothing", [False, True])
def test_modules_are_compiled_when_they_are_imported_where_that_is_kept(
    environment: Path, monkeypatch: pytest.MonkeyPatch, keeps_nothing: bool
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], progress: Progress) -> int:
        commands.append(command)
        return 0

    monkeypatch.setattr(set_up, "run", run)
    monkeypatch.setattr(sys, "dont_write_bytecode", keeps_nothing)

    set_up.pip(Progress("installing", io.StringIO()), "a-package")

    assert ["--no-compile" in command for command in commands] == [not keeps_nothing]
