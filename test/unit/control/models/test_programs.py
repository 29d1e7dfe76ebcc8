"""Programs that come and go, with the real supervisord of a stack."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.control import DAEMON, eventually
from tfsd.control.ends import End
from tfsd.control.models.programs import Programs
from tfsd.control.supervisor_client import SupervisorClient, SupervisorError
from tfsd.run_dir import RunDir

CONF = """
[include]
files = programs/*.conf
[supervisord]
nodaemon = true
logfile = /dev/null
logfile_maxbytes = 0
pidfile = {run_dir}/supervisord.pid
[unix_http_server]
file = {run_dir}/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
POOL = """
[fcgi-program:pool]
command = sleep 1000
socket = unix://{run_dir}/pool.sock
process_name = %(program_name)s-%(process_num)d
numprocs = 2
startsecs = 0
stopwaitsecs = 1000
"""  # nobody is killed who does not hear that it is to stop
SLEEPER = "[program:sleeper]\ncommand = sleep 1000\nstartsecs = 0\n"


def answers(run_dir: Path) -> bool:
    """Whether supervisord does, whose socket is there a little earlier."""
    try:
        SupervisorClient(RunDir(run_dir)).processes()
    except SupervisorError:
        return False
    return True


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    for name in ("programs", "ends"):
        (tmp_path / name).mkdir()
    conf = tmp_path / "supervisord.conf"
    conf.write_text(CONF.format(run_dir=tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-m", "tfsd.stack.supervisord", "-c", str(conf)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(DAEMON)},
    )
    eventually(lambda: answers(tmp_path))
    yield tmp_path
    process.terminate()
    process.wait(20)


def test_a_group_comes_and_goes_with_its_socket(run_dir: Path) -> None:
    supervisor = SupervisorClient(RunDir(run_dir))
    programs = Programs(RunDir(run_dir), supervisor)
    sections = POOL.format(run_dir=run_dir)
    names = ["pool-0", "pool-1"]
    for _ in range(2):
        programs.add("pool", sections, ["pool"])
        assert programs.names() == {"pool"}
        eventually(lambda: [p.running for p in supervisor.processes().values()] == [True, True])
        pid = supervisor.processes()["pool-0"].pid

        os.kill(pid, signal.SIGKILL)

        end = eventually(lambda: programs.end_of("pool-0"))
        assert isinstance(end, End)
        assert (end.pid, end.code) == (pid, -signal.SIGKILL)
        assert programs.end_of("pool-1") is None
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(run_dir / "pool.sock"))

        programs.remove("pool", ["pool"], names)

        assert supervisor.processes() == {}
        assert programs.names() == set()
        assert not (run_dir / "pool.sock").exists()
        assert list((run_dir / "ends").iterdir()) == []
        programs.remove("pool", ["pool"], names)  # what is gone already is no error


def test_adding_what_runs_is_no_error_and_neighbours_stay(run_dir: Path) -> None:
    supervisor = SupervisorClient(RunDir(run_dir))
    programs = Programs(RunDir(run_dir), supervisor)
    programs.add("sleeper", SLEEPER, ["sleeper"])
    eventually(lambda: supervisor.processes()["sleeper"].running)
    pid = supervisor.processes()["sleeper"].pid

    programs.add("sleeper", SLEEPER, ["sleeper"])
    programs.add("pool", POOL.format(run_dir=run_dir), ["pool"])
    programs.remove("pool", ["pool"], [])

    assert supervisor.processes()["sleeper"].pid == pid


def test_sections_that_supervisord_refuses_are_an_error_and_can_be_taken_back(run_dir: Path) -> None:
    programs = Programs(RunDir(run_dir), SupervisorClient(RunDir(run_dir)))

    with pytest.raises(SupervisorError):
        programs.add("bad", "[program:bad]\nautostart = maybe\n", ["bad"])
    programs.remove("bad", ["bad"], ["bad"])

    programs.add("sleeper", SLEEPER, ["sleeper"])
