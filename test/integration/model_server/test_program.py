"""`python -m tfsd.model_server` as a process of its own: the other tests run forks of one that is loaded."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


def program(*flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tfsd.model_server", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "daemon")},
    )


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout
    output = ""
    for line in process.stdout:
        output += line
        if text in line:
            return output
    raise AssertionError(output)


def test_version() -> None:
    process = program("--version")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    first, second = output.splitlines()
    assert first.startswith("TensorFlow ModelServer: 2.")
    assert second.startswith("TensorFlow Library: 2.")


def test_loads_tensorflow_once_says_so_serves_and_ends_on_sigterm(models: Any) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    process = program(f"--port={port}", f"--model_base_path={models}/half_plus_three")
    try:
        output = read_until(process, "Running gRPC ModelServer")
        assert output.count("Loading TensorFlow 2.") == 1
        assert output.index("Loading TensorFlow") < output.index("Loading servable version")
        with socket.create_connection(("127.0.0.1", port), 10):
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()


def test_sigterm_ends_a_server_that_still_loads_tensorflow() -> None:
    process = program("--model_base_path=/nonexistent")
    try:
        read_until(process, "Loading TensorFlow")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
