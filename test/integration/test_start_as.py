"""Started by others than root, with output that cannot be opened again by its path: `su`, systemd, containers."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

import tfsd
from support.stack import RunningStack
from support.systemd_unit import service

USER = 12345  # in no /etc/passwd, as `docker run --user` allows
SITE = Path(pytest.__file__).parents[1]


class UsersStack(RunningStack):
    """A stack of `user`, whose stdout is a pipe of root's and whose stderr is a socket."""

    user = USER

    def channels(self) -> tuple[dict[str, IO[bytes]], int, int]:
        """What we read, by name, and the stdout and the stderr of the stack."""
        read, write = os.pipe()
        ours, theirs = socket.socketpair()
        return {"out": os.fdopen(read, "rb"), "err": ours.makefile("rb")}, write, theirs.detach()

    def start(self) -> RunningStack:
        sources, stdout, stderr = self.channels()
        self.process = subprocess.Popen(
            [python(), "-m", "tfsd.start.serve"],
            env=self.environ,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            user=self.user,
            group=self.user,
            extra_groups=[],
        )
        for descriptor in {stdout, stderr}:
            os.close(descriptor)
        self.run_dir = Path(tempfile.gettempdir()) / f"tfsd-{self.user}"
        for name, source in sources.items():
            self.collect(source, name)
        return self

    def collect(self, source: IO[bytes], name: str) -> None:
        """Keep what comes in the log, each line with the name of where it came from."""

        def copy() -> None:
            for line in source:
                with self.log.open("ab") as log:
                    log.write(f"{name}: ".encode() + line)

        threading.Thread(target=copy, daemon=True).start()


class ServicesStack(UsersStack):
    """As systemd starts a service: stdout and stderr are one socket, the journal's."""

    user = USER + 1

    def channels(self) -> tuple[dict[str, IO[bytes]], int, int]:
        ours, theirs = socket.socketpair()
        descriptor = theirs.detach()
        return {"journal": ours.makefile("rb")}, descriptor, descriptor


def python() -> str:
    """An interpreter of our version that anyone may run."""
    candidates = [sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"]
    for path in candidates:
        if subprocess.call(["test", "-x", path], user=USER, group=USER, extra_groups=[]) == 0:
            return path
    pytest.skip("no interpreter that another user may run")


@contextlib.contextmanager
def started(kind: type[UsersStack], models: Path, **variables: str) -> Iterator[RunningStack]:
    """A healthy stack of another user's."""
    if os.geteuid() != 0:
        pytest.skip("only root can start something as another user")
    with tempfile.TemporaryDirectory(prefix="tfsd-") as directory:
        Path(directory).chmod(0o755)  # unlike pytest's own, others may look into it
        model_dir = Path(directory) / "model"
        model_dir.mkdir()
        subprocess.run(["cp", "-r", models / "half_plus_three", model_dir], check=True)
        environ = {
            "PYTHONPATH": f"{Path(tfsd.__file__).parents[1]}:{SITE}",
            "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
            **variables,
        }
        with kind(Path(directory) / "stack", model_dir, environ) as running:
            yield running


@pytest.fixture(scope="module")
def stack(models: Path) -> Iterator[RunningStack]:
    with started(UsersStack, models) as running:
        yield running


def test_any_user_id_gets_an_endpoint_in_a_run_directory_of_its_own(stack: RunningStack) -> None:
    assert stack.invoke('{"instances": [1.0]}').json() == {"predictions": [3.5]}
    found = stack.run_dir.stat()
    assert (found.st_uid, found.st_mode & 0o777) == (USER, 0o700)
    assert stack.ctl("status").count("RUNNING") == 4


def test_the_output_of_all_processes_goes_to_the_descriptors_that_were_there(stack: RunningStack) -> None:
    stack.invoke('{"instances": [1.0]}')
    stack.wait_for(lambda: "out: 127.0.0.1 [" in stack.log_text(), 10, "in the access log")
    log = stack.log_text()
    assert "err: " in log
    assert "worker-default INFO Ready" in log
    assert "out: " in log
    assert "spawned: 'nginx'" in log


def test_what_the_unit_of_systemd_starts(models: Path) -> None:
    """Its variables, a user of its own, a socket for all output, and SIGTERM to the main process (KillMode=mixed)."""
    variables = dict(pair.split("=", 1) for pair in service()["Environment"].split())
    assert variables.pop("SAGEMAKER_BASE_DIR") == "/srv/tfsd"  # the test has a directory of its own
    with started(ServicesStack, models, **variables) as stack:
        assert stack.invoke('{"instances": [1.0]}').json() == {"predictions": [3.5]}
        for line in ("journal: 127.0.0.1 [", "spawned: 'nginx'", "worker-default INFO Ready"):
            stack.wait_for(lambda line=line: line in stack.log_text(), 10, "in the journal")
        assert stack.stop() == 0
