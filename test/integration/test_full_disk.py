"""A run directory whose disk is full: what serves goes on, what would have to write is refused."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from support.multi_model import MultiModelStack

HANDLER = """
def handler(data, context):
    return data.read(), "text/plain"
"""
SECONDS = 10  # after which a worker without a heartbeat is killed, and more


@pytest.fixture
def stack(quick_model_server: Path, tmp_path: Path) -> Iterator[MultiModelStack]:
    """A multi-model stack whose run directory is a file system of its own, of 16 MB."""
    limits = {"SAGEMAKER_MODEL_SERVER_TIMEOUT": "2", "SAGEMAKER_TFS_BINARY": str(quick_model_server)}
    stack = MultiModelStack(tmp_path / "stack", limits)
    stack.run_dir.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(stack.run_dir)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr}")
    try:
        with stack:
            yield stack
    finally:
        subprocess.run(["umount", "--lazy", str(stack.run_dir)], check=True)


def fill(directory: Path) -> Path:
    """Write a file until there is no room for one byte more."""
    path = directory / "filler"
    with path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        _write_on(file)
    return path


def _write_on(file: BinaryIO) -> None:
    while True:
        file.write(bytes(4096))


def test_a_full_disk(stack: MultiModelStack, models: Path) -> None:
    stack.loaded("plain", stack.lay("plain", models / "half_plus_two"))
    stack.loaded("coded", stack.lay("coded", models / "half_plus_two", HANDLER))
    third = stack.lay("third", models / "half_plus_two")
    programs = {name: process["pid"] for name, process in stack.programs().items()}
    filler = fill(stack.run_dir)
    full = filler.stat().st_mtime

    def beats() -> list[float]:
        return [path.stat().st_mtime for path in sorted((stack.run_dir / "heartbeats").iterdir())]

    stack.wait_for(lambda: min(beats()) > full + SECONDS, 60, "alive for longer than without heartbeats")

    assert {name: process["pid"] for name, process in stack.programs().items()} == programs
    assert stack.ping().status_code == 200
    assert stack.ask("plain").json() == {"predictions": [3.5]}
    assert stack.ask("coded", "as it came").text == "as it came"
    refused = stack.load("third", third)
    assert (refused.status_code, "disk is full" in refused.json()["error"]) == (507, True)
    assert sorted(stack.names()) == ["coded", "plain"]

    filler.unlink()
    stack.loaded("third", third)
    assert stack.unload("plain").status_code == 200
    assert stack.ask("third").json() == {"predictions": [3.5]}
