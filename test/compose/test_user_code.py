"""User code in a container: its requirements, its memory limit, and what it is doing when the container is stopped."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
import zipfile
from pathlib import Path

import pytest
import requests

from support.docker import Composed, StartEndpoint, docker, inspect

MEBIBYTES = 1 << 20
LIMIT = 1200
STOP_SECONDS = 30

HANDLER = """
import pathlib
import time

import greeting

def handler(data, context):
    words = data.read().decode().split()
    if words[0] == "sleep":
        pathlib.Path("/tmp/asleep").touch()
        time.sleep(float(words[1]))
    if words[0] == "eat":
        words.append(bytearray(b"x" * (int(words[1]) << 20)))
    return greeting.TEXT, "text/plain"
"""
WHEEL = "greeting-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def endpoint(
    start_endpoint: StartEndpoint, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Composed:
    """half_plus_two with a handler that sleeps and eats memory, in as little memory as TensorFlow bears."""
    directory = tmp_path_factory.mktemp("model")
    shutil.copytree(models / "half_plus_two", directory / "half_plus_two")
    code = directory / "code"
    code.mkdir()
    (code / "inference.py").write_text(HANDLER)
    (code / "requirements.txt").write_text(f"./{WHEEL}\n")
    make_wheel(code / WHEEL)
    return start_endpoint(directory, memory=f"{LIMIT}M", SAGEMAKER_MODEL_SERVER_WORKERS="1")


def make_wheel(path: Path) -> None:
    """A package of one module, which needs no index to be installed."""
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("greeting.py", 'TEXT = "hello"\n')
        wheel.writestr(
            "greeting-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n"
        )
        wheel.writestr(
            "greeting-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("greeting-1.0.dist-info/RECORD", "")


def test_requirements_are_installed_at_start(endpoint: Composed) -> None:
    assert endpoint.invoke("say", "text/plain").text == "hello"


def test_an_overrun_of_the_memory_limit_is_survived(endpoint: Composed) -> None:
    assert inspect(endpoint.name)["HostConfig"]["Memory"] == LIMIT * MEBIBYTES
    with contextlib.suppress(requests.RequestException):
        assert endpoint.invoke(f"eat {2 * LIMIT}", "text/plain").status_code >= 500
    end = time.monotonic() + 60
    while endpoint.invoke("say", "text/plain").text != "hello" or endpoint.get("/ping").status_code != 200:
        assert time.monotonic() < end, endpoint.log()
        time.sleep(0.5)
    assert endpoint.state()["Running"]
    assert inspect(endpoint.name)["RestartCount"] == 0


def test_requests_in_flight_are_answered_before_a_stop(endpoint: Composed) -> None:
    """The last test of this container."""
    answers: list[requests.Response] = []
    request = threading.Thread(target=lambda: answers.append(endpoint.invoke("sleep 4", "text/plain")))
    request.start()
    end = time.monotonic() + 60
    while "asleep" not in endpoint.run("ls", "/tmp"):
        assert time.monotonic() < end, endpoint.log()
    begun = time.monotonic()
    docker("stop", "-t", str(STOP_SECONDS), endpoint.name)
    took = time.monotonic() - begun
    request.join()
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "hello")]
    state = endpoint.state()
    assert state["ExitCode"] == 0, f"{state}\n{endpoint.log()}"  # 137: killed after STOP_SECONDS
    assert took < STOP_SECONDS
