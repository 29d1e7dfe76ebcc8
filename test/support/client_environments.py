"""Virtual environments with other people's clients, each made once per machine and list of versions."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tfsd.local import uv

INSTALL_SECONDS = 900


def programs(name: str, requirements: Path, *options: str) -> Path:
    """The directory of an environment's programs; whoever comes second waits for the first. `options` are pip's.

    Skips the test where the clients cannot be installed.
    """
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"tfsd-test-{name}-{os.getuid()}-{digest}"
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "complete").exists():
            # our pip or uv installs: a pip of its own would be unpacked and compiled first
            subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", directory], check=True)
            python = directory / "bin/python"
            # Most of what is installed is never imported, and compiling it takes the longest.
            pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-compile"]
            for installer in filter(None, (uv.command(Path(sys.executable), python), pip)):
                done = subprocess.run(
                    [*installer, "--quiet", *options, "--requirement", requirements],
                    capture_output=True,
                    text=True,
                    timeout=INSTALL_SECONDS,
                )
                if done.returncode == 0:
                    break
            else:
                pytest.skip(f"the clients cannot be installed here: {done.stderr.strip()[-300:]}")
            (directory / "complete").touch()
    return directory / "bin"
