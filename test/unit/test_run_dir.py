"""The run directory: what a start clears and keeps, and replacing a file that others read."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tfsd.run_dir import MAX_SOCKET_PATH_BYTES, RunDir, RunDirError, replace


def fill(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "old").write_text("old")


def test_a_start_clears_what_would_mislead_it_and_keeps_environments(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run")
    run_dir.clear()
    for multi_model in (False, True):
        run_dir.make(multi_model=multi_model)
    for directory in [path for path in run_dir.path.iterdir() if path.is_dir()]:
        fill(directory)
    fill(run_dir.environment("worker-default"))
    fill(run_dir.source)
    run_dir.control_socket.touch()

    run_dir.clear()

    left = {str(path.relative_to(run_dir.path)) for path in run_dir.path.rglob("old")}
    assert left == {"environments/worker-default/old", "source/old"}
    assert not run_dir.control_socket.exists()


def test_all_names_differ_and_lie_in_the_directory() -> None:
    run_dir = RunDir(Path("/run/tfsd"))
    properties = [name for name, value in vars(RunDir).items() if isinstance(value, property)]
    paths = [getattr(run_dir, name) for name in properties if not name.startswith("_")]
    assert len(set(paths)) == len(paths) > 20
    assert all(run_dir.path in path.parents for path in paths)


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    replace(path, "one")
    with path.open() as reader:
        replace(path, "two")
        assert (reader.read(), path.read_text()) == ("one", "two")
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_with_a_stack_is_refused(short_dir: Path) -> None:
    run_dir = RunDir(short_dir)
    run_dir.refuse_second_stack()
    with socket.socket(socket.AF_UNIX) as supervisord:
        supervisord.bind(str(run_dir.supervisor_socket))
        run_dir.refuse_second_stack()  # what a killed supervisord left
        supervisord.listen()
        with pytest.raises(RunDirError, match="already"):
            run_dir.refuse_second_stack()


def test_the_longest_path_of_a_socket() -> None:
    room = MAX_SOCKET_PATH_BYTES - len("/sockets/w.sock")
    RunDir(Path("/" + "x" * (room - 1))).worker_socket("w")
    with pytest.raises(RunDirError, match="shorter --run-dir"):
        RunDir(Path("/" + "x" * room)).worker_socket("w")
