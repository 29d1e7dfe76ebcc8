"""What the tests of pods share: an image with a model inside. They are skipped where podman cannot run it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from support.manifests import DEPLOY, Manifest, built, loaded
from support.models import built_models
from support.podman import call, missing_podman, podman

SERVER = "localhost/sagemaker-tensorflow-serving:embedded-cpu"
# A stream that goes on when a file appears: the test says when.
SLOW = """
import os, time

def handler(data, context):
    def stream():
        yield b"begun "
        while not os.path.exists("/tmp/go"):
            time.sleep(0.05)
        yield b"ended"
    return stream(), "text/plain"
"""


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's image with a model in it, made as the guide says. `slow` is one with code of its own."""
    reason = missing_podman(SERVER)
    if reason:
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("image")
    for name in ("half_plus_two", "slow"):
        shutil.copytree(built_models() / "half_plus_two", directory / "model" / name)
    code = directory / "model" / "slow" / "code"
    code.mkdir()
    (code / "inference.py").write_text(SLOW)
    (directory / "Dockerfile").write_text(f"FROM {SERVER}\nCOPY model /opt/ml/model\n")
    name = "localhost/tfsd-test-pod:1"
    podman("build", "--quiet", "--tag", name, str(directory))
    yield name
    call("rmi", "--force", name)


@pytest.fixture(scope="session")
def manifests(image: str) -> list[Manifest]:
    """The base, with the image put in as an overlay does it."""
    server = "sagemaker-tensorflow-serving:embedded-cpu"
    text = "\n---\n".join(map(repr, built(DEPLOY / "kubernetes" / "base")))
    assert server in text
    return loaded(text.replace(server, image))
