"""What the tests of pods share: an image with a model inside. They are skipped where podman cannot run it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from support.manifests import Manifest
from support.models import built_models
from support.podman import SERVER, image_with_model, missing_podman, of_the_kit

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
    """With half_plus_two, and `slow` that has code of its own."""
    reason = missing_podman(SERVER)
    if reason:
        pytest.skip(reason)
    model = built_models() / "half_plus_two"
    slow = tmp_path_factory.mktemp("slow") / "slow"
    shutil.copytree(model, slow)
    (slow / "code").mkdir()
    (slow / "code" / "inference.py").write_text(SLOW)
    with image_with_model(tmp_path_factory.mktemp("image"), {"half_plus_two": model, "slow": slow}) as name:
        yield name


@pytest.fixture(scope="session")
def manifests(image: str) -> list[Manifest]:
    return of_the_kit(image)
