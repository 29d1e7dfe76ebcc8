"""Started by others than root, with output that cannot be opened again by its path: `su`, systemd, containers."""

from __future__ import annotations

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

USER = 12345  # in no /etc/passwd, as `docker run --user` allows
RUN_DIR = Path(tempfile.gettempdir()) / f"tfsd-{USER}"
SITE = Path(pytest.__file__).parents[1]


class UsersStack(RunningStack):
    """A stack of USER, whose stdout is a pipe of root's and whose stderr is a socket, as systemd's journal has it."""

    def start(self) -> RunningStack:
        read, write = os.pipe()
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(  # type: ignore[call-overload]
            [python(), "-m", "tfsd.start.serve"],
            env=self.environ,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=theirs,
            start_new_session=True,
            user=USER,
            group=USER,
            extra_groups=[],
        )
        os.close(write)
        theirs.close()
        self.run_dir = RUN_DIR
        self.collect(os.fdopen(read, "rb"), "out")
        self.collect(ours.makefile("rb"), "err")
        return self

    def collect(self, source: IO[bytes], name: str) -> None:
        """Keep what comes in the log, each line with the name of where it came from."""

        def copy() -> None:
            for line in source:
                with self.log.open("ab") as log:
                    log.write(f"{name}: ".encode() + line)

        threading.Thread(target=copy, daemon=True).start()


def python() -> str:
    """An interpreter of our version that anyone may run."""
    candidates = [sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"]
    for path in candidates:
        if subprocess.call(["test", "-x", path], user=USER, group=USER, extra_groups=[]) == 0:
            return path
    pytest.skip("no interpreter that another user may run")


@pytest.fixture(scope="module")
def stack(models: Path) -> Iterator[RunningStack]:
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
        }
        with UsersStack(Path(directory) / "stack", model_dir, environ) as running:
            yield running


def test_any_user_id_gets_an_endpoint_in_a_run_directory_of_its_own(stack: RunningStack) -> None:
    assert stack.invoke('{"instances": [1.0]}').json() == {"predictions": [3.5]}
    found = RUN_DIR.stat()
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
