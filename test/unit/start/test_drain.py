"""What an orchestrator runs before it stops a container."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfsd.run_dir import RunDir, RunDirError
from tfsd.start import serve
from tfsd.start.drain import drain


@pytest.fixture
def run_dir() -> Iterator[RunDir]:
    """A run directory in which something listens where supervisord would."""
    with tempfile.TemporaryDirectory() as path, socket.socket(socket.AF_UNIX) as listener:
        run_dir = RunDir(Path(path))
        listener.bind(str(run_dir.supervisor_socket))
        listener.listen()
        yield run_dir


def test_the_stack_drains_while_its_end_is_waited_for(run_dir: RunDir) -> None:
    waits = []

    def sleep(seconds: float) -> None:
        assert run_dir.draining.exists()
        waits.append(seconds)

    drain(run_dir, 5, sleep)
    assert waits == [5]


def test_the_next_start_does_not_drain(run_dir: RunDir) -> None:
    drain(run_dir, 0)
    run_dir.clear()
    assert not run_dir.draining.exists()


def test_where_no_stack_runs(tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match="no stack is running in"):
        drain(RunDir(tmp_path), 0)


def test_the_command(run_dir: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.main(["--run-dir", str(run_dir), "--drain", "0"]) == 0
    assert serve.main(["--run-dir", str(tmp_path), "--drain", "0"]) == 1
    assert capsys.readouterr().err.startswith("serve: no stack is running")
