"""A container that is being stopped, and one that runs out of memory."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from pathlib import Path

import pytest
import requests

from support.docker import Composed, StartEndpoint, docker, inspect

MEBIBYTES = 1 << 20
LIMIT = 1200
STOP_SECONDS = 30

HANDLER = """
import time

def handler(data, context):
    words = data.read().decode().split()
    if words[0] == "sleep":
        time.sleep(float(words[1]))
    if words[0] == "eat":
        words.append(bytearray(b"x" * (int(words[1]) << 20)))
    return words[0], "text/plain"
"""


@pytest.fixture
def endpoint(start_endpoint: StartEndpoint, models: Path, tmp_path: Path) -> Composed:
    """half_plus_two with a handler that sleeps and eats memory, in as little memory as TensorFlow bears."""
    shutil.copytree(models / "half_plus_two", tmp_path / "half_plus_two")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text(HANDLER)
    return start_endpoint(tmp_path, memory=f"{LIMIT}M", SAGEMAKER_MODEL_SERVER_WORKERS="1")


def test_limits_and_stopping(endpoint: Composed) -> None:
    memory_is_limited_and_an_overrun_is_survived(endpoint)
    requests_in_flight_are_answered_before_a_stop(endpoint)


def memory_is_limited_and_an_overrun_is_survived(endpoint: Composed) -> None:
    assert inspect(endpoint.name)["HostConfig"]["Memory"] == LIMIT * MEBIBYTES
    with contextlib.suppress(requests.RequestException):
        assert endpoint.invoke(f"eat {2 * LIMIT}", "text/plain").status_code >= 500
    endpoint.wait_until_healthy()
    end = time.monotonic() + 60
    while endpoint.invoke("hello", "text/plain").text != "hello":
        assert time.monotonic() < end, endpoint.log()
        time.sleep(0.5)
    assert endpoint.state()["Running"]
    assert inspect(endpoint.name)["RestartCount"] == 0


def requests_in_flight_are_answered_before_a_stop(endpoint: Composed) -> None:
    answers = []
    request = threading.Thread(target=lambda: answers.append(endpoint.invoke("sleep 4", "text/plain")))
    request.start()
    time.sleep(1)
    begun = time.monotonic()
    docker("stop", "--time", str(STOP_SECONDS), endpoint.name)
    took = time.monotonic() - begun
    request.join()
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "sleep")]
    state = endpoint.state()
    assert state["ExitCode"] == 0, f"{state}\n{endpoint.log()}"  # 137: killed after STOP_SECONDS
    assert took < STOP_SECONDS
