"""The run directory: what a start clears and keeps, and replacing a file that others read."""

from __future__ import annotations

import os
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


class TestClaim:
    def test_it_is_made_for_ourselves_alone(self, short_dir: Path) -> None:
        run_dir = RunDir(short_dir / "a" / "run")
        run_dir.claim()
        run_dir.claim()
        assert run_dir.path.stat().st_mode & 0o777 == 0o700

    def test_one_that_everybody_can_write_is_not_taken(self, short_dir: Path) -> None:
        short_dir.chmod(0o777)
        with pytest.raises(RunDirError, match="can be written by everybody; use another --run-dir"):
            RunDir(short_dir).claim()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
    def test_another_users_is_not_taken(self, short_dir: Path) -> None:
        os.chown(short_dir, 12345, -1)
        assert not RunDir(short_dir).can_be_ours()
        with pytest.raises(RunDirError, match=r"belongs to another user \(id 12345\)"):
            RunDir(short_dir).claim()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
    def test_nor_one_behind_another_users_link(self, short_dir: Path) -> None:
        (short_dir / "ours").mkdir()
        (short_dir / "link").symlink_to(short_dir / "ours")
        os.lchown(short_dir / "link", 12345, -1)
        with pytest.raises(RunDirError, match="belongs to another user"):
            RunDir(short_dir / "link").claim()

    def test_nothing_is_written_through_a_link_that_lay_there(self, short_dir: Path) -> None:
        precious = short_dir / "precious"
        precious.write_text("precious")
        run_dir = RunDir(short_dir / "run")
        run_dir.path.mkdir(mode=0o700)
        for path in (
            run_dir.nginx_conf,
            run_dir.nginx_conf.with_name(".nginx.conf.partial"),
            run_dir.request_log,
        ):
            path.symlink_to(precious)
        run_dir.claim()
        replace(run_dir.nginx_conf, "rendered")
        assert (precious.read_text(), run_dir.nginx_conf.read_text()) == ("precious", "rendered")
        assert not run_dir.request_log.exists()

    def test_a_link_that_comes_in_between_is_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "precious").write_text("precious")
        (tmp_path / ".plan.json.partial").symlink_to(tmp_path / "precious")
        replace(tmp_path / "plan.json", "plan")
        assert (tmp_path / "precious").read_text() == "precious"

    def test_a_colon_ends_a_sockets_path_in_nginx(self, short_dir: Path) -> None:
        with pytest.raises(RunDirError, match="has a colon"):
            RunDir(short_dir / "a:b").claim()

    def test_a_file_and_a_path_below_one(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(RunDirError, match="is a file; use another --run-dir"):
            RunDir(tmp_path / "file").claim()
        with pytest.raises(RunDirError, match=r"cannot be used: .*; use another --run-dir"):
            RunDir(tmp_path / "file" / "run").claim()
