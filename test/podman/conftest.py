"""What the tests of pods share: an image with a model inside. They are skipped where podman cannot run it."""

from __future__ import annotations

import io
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.manifests import Manifest, of_kind
from support.models import built_models
from support.podman import SERVER, address_of_this_machine, image_with_model, missing_podman, of_the_kit
from support.small_s3 import SmallS3

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
def server() -> str:
    """The server's image, without a model."""
    reason = missing_podman(SERVER)
    if reason:
        pytest.skip(reason)
    return SERVER


@pytest.fixture(scope="session")
def image(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """With half_plus_two, and `slow` that has code of its own."""
    model = built_models() / "half_plus_two"
    slow = tmp_path_factory.mktemp("slow") / "slow"
    shutil.copytree(model, slow)
    (slow / "code").mkdir()
    (slow / "code" / "inference.py").write_text(SLOW)
    with image_with_model(tmp_path_factory.mktemp("image"), {"half_plus_two": model, "slow": slow}) as name:
        yield name


@pytest.fixture(scope="session")
def manifests(image: str) -> list[Manifest]:
    """The base."""
    return of_the_kit(image)


@pytest.fixture
def manifests_with_s3(server: str) -> Iterator[list[Manifest]]:
    """The overlay whose model, half_plus_two, comes from S3; which that is, is said as a platform says it."""
    manifests = of_the_kit(server, "overlays/in-flight")
    (fetching,) = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]["initContainers"]
    (location,) = (variable["value"] for variable in fetching["env"])
    address = address_of_this_machine()
    s3 = SmallS3("0.0.0.0")
    s3.objects[location.removeprefix("s3://bucket/")] = archive(built_models() / "half_plus_two")
    environ = {
        "AWS_ENDPOINT_URL": f"http://{address}:{s3.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    fetching["env"] += [{"name": name, "value": value} for name, value in environ.items()]
    thread = threading.Thread(target=s3.serve_forever, args=(0.02,))
    thread.start()
    yield manifests
    s3.shutdown()
    thread.join()
    s3.server_close()


def archive(model: Path) -> bytes:
    """A model.tar.gz."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(model, model.name)
    return packed.getvalue()
