"""The Open Inference Protocol's own clients, in a virtual environment made once per machine and list of versions."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from support.models import RESOURCES

CLIENTS = RESOURCES / "v2"
INSTALL_SECONDS = 900


def run(script: str, address: str) -> Any:
    """What a client's script prints about an endpoint. Skips where the clients cannot be installed."""
    command = [str(python()), str(CLIENTS / script), address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def python() -> Path:
    """The interpreter of the clients' environment."""
    requirements = CLIENTS / "requirements.txt"
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"tfsd-test-clients-{os.getuid()}-{digest}"
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "complete").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
            # Most of what is installed is never imported, and compiling it takes the longest.
            pip = [
                str(directory / "bin/python"),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--no-compile",
            ]
            done = subprocess.run(
                [*pip, "-r", requirements], capture_output=True, text=True, timeout=INSTALL_SECONDS
            )
            if done.returncode:
                pytest.skip(f"the clients cannot be installed here: {done.stderr.strip()[-300:]}")
            (directory / "complete").touch()
    return directory / "bin/python"
