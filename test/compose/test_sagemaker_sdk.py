"""The SageMaker Python SDK's local mode deploys the image. Nothing leaves this machine: S3 is played by moto."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from support.docker import docker
from support.sagemaker_clients import clients
from tfsd.stack.ports import allocate

HERE = Path(__file__).parent
SECONDS = 300

pytestmark = pytest.mark.timeout(SECONDS + 60)

#: Their models: each is a model server, which takes 3 s of CPU to load TensorFlow.
ARCHIVES = {"two.tar.gz": ("half_plus_two", "half_plus_three"), "one.tar.gz": ("half_plus_three",)}
VERBS = ("endpoint", "handlers", "transform")
NETWORK = "sagemaker-local"

Answers = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def sdk() -> Path:
    """The directory of the environment's programs."""
    return clients()


@pytest.fixture(scope="module")
def aws(sdk: Path) -> Iterator[dict[str, str]]:
    """The environment of an AWS account that is moto's, on this machine."""
    port = allocate(1)[0]
    server = subprocess.Popen(
        [sdk / "moto_server", "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 60
        url = f"http://127.0.0.1:{port}"
        while True:
            with contextlib.suppress(requests.ConnectionError):
                requests.get(url, timeout=5)
                break
            assert time.monotonic() < end, "moto does not start"
            time.sleep(0.1)
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SAGEMAKER_"))
        }
        yield kept | {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_DEFAULT_REGION": "us-west-2",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def network(image: str) -> Iterator[None]:
    """The network that the SDK's containers share, made before several of them make it at once."""
    made = not docker("network", "ls", "--quiet", "--filter", f"name=^{NETWORK}$")
    if made:
        docker("network", "create", "--label", f"com.docker.compose.network={NETWORK}", NETWORK)
    before = containers()
    yield
    for left in containers() - before:
        docker("rm", "--force", left)
    if made:
        docker("network", "rm", NETWORK)


def containers() -> set[str]:
    """All that the SDK runs."""
    return set(docker("ps", "--all", "--quiet", "--filter", f"network={NETWORK}").split())


@pytest.fixture(scope="module")
def answers(
    image: str,
    numbers: Path,
    sdk: Path,
    aws: dict[str, str],
    network: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Answers:
    """What sagemaker_local.py prints, by its verbs, which run side by side, mostly waiting."""
    directory = tmp_path_factory.mktemp("sdk")
    for archive, names in ARCHIVES.items():
        with tarfile.open(directory / archive, "w:gz") as tar:
            for name in names:
                tar.add(numbers / name, name)
    ports = [f"{verb}={port}" for verb, port in zip(VERBS, allocate(len(VERBS)), strict=True)]
    done = subprocess.run(
        [sdk / "python", HERE / "sagemaker_local.py", image, str(directory), *ports],
        capture_output=True,
        text=True,
        env=aws,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    said: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return said


def test_endpoint_without_an_entry_point(answers: Answers) -> None:
    assert answers["endpoint"] == {
        "json": {"predictions": [3.5, 4.0, 5.5]},
        "csv": [["3.5"], ["4.0"]],
        "jsonlines": {"predictions": [3.5, 4.0]},
        "other": {"predictions": [2.5]},
    }


def test_endpoint_with_an_entry_point(answers: Answers) -> None:
    assert answers["handlers"] == {"handlers": {"halves": [3.5, 4.0, 5.5]}}


def test_batch_transform(answers: Answers) -> None:
    assert [float(line) for line in answers["transform"]["lines"]] == [number / 2 + 3 for number in range(20)]
