"""README, done as a newcomer does it. Its inference code is test_documentation_code's."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.walkthrough import ROOT, SECONDS, Walkthrough, pattern
from tfsd.stack.ports import allocate

README = ROOT / "README.md"


def test_the_quick_start(
    models: Path, quick_model_server: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The example and its response, then a model of one's own with two requests."""
    (tmp_path / "path/to").mkdir(parents=True)
    (tmp_path / "path/to/model").symlink_to(models / "half_plus_two")
    environ = {"SAGEMAKER_TFS_BINARY": str(quick_model_server)}
    reader = Walkthrough(tmp_path, tmp_path_factory.mktemp("run"), allocate(1)[0], environ)
    assert reader.do(README) == 1


def test_local_sagemaker_prints_what_readme_says(tmp_path: Path) -> None:
    [line] = [line for line in README.read_text().splitlines() if line.startswith("./bin/local sagemaker")]
    command, _, printed = line.partition("# prints: ")
    port = str(allocate(1)[0])
    output = tmp_path / "output"
    with output.open("wb") as file:
        server = subprocess.Popen(
            [*command.split(), "--port", port, "--data", str(tmp_path / "data")],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        end = time.monotonic() + SECONDS
        while "ready;" not in output.read_text():
            assert server.poll() is None, output.read_text()
            assert time.monotonic() < end, output.read_text()
            time.sleep(0.1)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(SECONDS)
    expected = pattern(printed.replace("4566", port))
    assert any(expected.fullmatch(line.strip()) for line in output.read_text().splitlines()), (
        output.read_text()
    )
