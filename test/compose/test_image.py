"""What an image says about itself, and what it does as plain TensorFlow Serving."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from support.docker import Container, docker, inspect
from tfsd.stack.ports import allocate


def test_labels_promise_what_the_platform_asks_for(image: str) -> None:
    labels = inspect(image)["Config"]["Labels"]
    assert labels["com.amazonaws.sagemaker.capabilities.accept-bind-to-port"] == "true"
    assert labels["com.amazonaws.sagemaker.capabilities.multi-models"] == "true"


def test_entry_point_is_in_exec_form_and_ports_are_named(image: str) -> None:
    config = inspect(image)["Config"]
    assert not {"/bin/sh", "sh", "bash"} & set(config["Entrypoint"])
    assert set(config["ExposedPorts"]) == {"8080/tcp", "8500/tcp", "8501/tcp"}


def test_there_is_no_compiler_inside(image: str) -> None:
    search = "command -v cc gcc g++ c++ clang make || echo none"
    assert docker("run", "--rm", "--entrypoint", "sh", image, "-c", search) == "none"


@pytest.fixture(scope="module")
def plain(image: str, models: Path) -> Iterator[Container]:
    """The image run without a command, as tensorflow/serving is."""
    name, port = f"tfsd{uuid.uuid4().hex[:8]}", allocate(1)[0]
    environ = ["--env", "MODEL_NAME=half_plus_two", "--env", "MODEL_BASE_PATH=/models"]
    where = [
        "--volume",
        f"{models / 'half_plus_two'}:/models/half_plus_two:ro",
        "--publish",
        f"127.0.0.1:{port}:8501",
    ]
    docker("run", "--detach", "--name", name, *environ, *where, image)
    container = Container(name, port)
    try:
        container.wait_until_healthy()
        yield container
    finally:
        docker("rm", "--force", name)


def test_plain_tensorflow_serving(plain: Container) -> None:
    answer = plain.request("POST", "/v1/models/half_plus_two:predict", data='{"instances": [1.0, 2.0, 5.0]}')
    assert answer.json() == {"predictions": [3.5, 4.0, 5.5]}  # version 124 adds three
    with pytest.raises(requests.ConnectionError):
        Container(plain.name, allocate(1)[0]).get("/ping")


def test_plain_tensorflow_serving_stops_when_asked(plain: Container) -> None:
    docker("stop", "-t", "30", plain.name)
    assert plain.state()["ExitCode"] != 137  # killed for not listening
