"""The clients of SageMaker that users have, in an environment of their own: the AWS CLI and the Python SDK."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).parents[1] / "resources" / "sagemaker" / "clients.txt"


def clients() -> Path:
    """The directory of the programs of the clients' environment, made once per machine and version of the list.

    Skips the test where they cannot be installed.
    """
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"tfsd-test-sagemaker-{os.getuid()}-{digest}"
    ready = directory / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
        pip = [
            str(directory / "bin" / "pip"),
            "install",
            "--quiet",
            "--no-compile",
            "--requirement",
            str(REQUIREMENTS),
        ]
        done = subprocess.run(pip, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(
                f"SageMaker's clients cannot be installed here: {done.stderr.strip().splitlines()[-1]}"
            )
        ready.touch()
    return directory / "bin"
