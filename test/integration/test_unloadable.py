"""Versions that do not load: a model server ends when there is one, and the stack leaves it out."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from support.stack import RunningStack


def lay(directory: Path, model: Path, good: tuple[int, ...], bad: tuple[int, ...]) -> Path:
    """A model `net` with such versions."""
    for version in good:
        shutil.copytree(next(model.iterdir()), directory / "net" / str(version))
    for version in bad:
        (directory / "net" / str(version)).mkdir(parents=True)
        (directory / "net" / str(version) / "saved_model.pb").write_bytes(b"junk")
    return directory


@pytest.fixture(scope="module", params=["goes on", "ends"])
def binary(
    request: pytest.FixtureRequest, quick_model_server: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The embedded server as the stack runs it, and as tensorflow_model_server is: it ends of a bad version."""
    if "SAGEMAKER_TFS_BINARY" in os.environ and request.param == "goes on":
        pytest.skip("a server that is named runs as it is")
    if "SAGEMAKER_TFS_BINARY" in os.environ or request.param == "goes on":
        return quick_model_server
    path = tmp_path_factory.mktemp("bin") / "model_server"
    path.write_text(quick_model_server.read_text().replace(" --start_despite_load_errors", ""))
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def started(directory: Path, model_dir: Path, binary: Path) -> Iterator[RunningStack]:
    stack = RunningStack(directory, model_dir, {"SAGEMAKER_TFS_BINARY": str(binary)}).start()
    try:
        yield stack
    finally:
        stack.__exit__()


def test_good_versions_are_served_and_ping_says_what_is_left_out(
    tmp_path_factory: pytest.TempPathFactory, models: Path, binary: Path
) -> None:
    directory = tmp_path_factory.mktemp("stack")
    model_dir = lay(directory / "laid", models / "half_plus_two", good=(1, 4), bad=(2,))
    with started(directory / "stack", model_dir, binary) as stack:
        stack.wait_until_healthy()
        [said] = stack.ping().json()["degraded"]
        assert said.startswith("model 'net' is served without version 2: ")
        assert stack.invoke('{"instances": [1.0]}').json() == {"predictions": [2.5]}
        attributes = "tfs-model-version=2"
        stack.wait_for(
            lambda: stack.invoke('{"instances": [1.0]}', attributes=attributes).status_code == 404,
            10,
            "left out",
        )
        page = requests.get(stack.url("/metrics"), timeout=10).text
        assert 'tfsd_model_version_left_out{model="net",version="2"} 1.0' in page
        said = "Degraded: model 'net' is served without version 2"
        stack.wait_for(lambda: said in stack.log_text(), 10, "said in the log")


def test_a_model_without_a_good_version_is_answered_503_at_once_with_the_reason(
    tmp_path_factory: pytest.TempPathFactory, models: Path, binary: Path
) -> None:
    directory = tmp_path_factory.mktemp("stack")
    model_dir = lay(directory / "laid", models / "half_plus_two", good=(), bad=(2, 3))
    with started(directory / "stack", model_dir, binary) as stack:
        stack.wait_for(lambda: "cannot be loaded" in stack.ping().text, 60, "given up")
        for body, content_type in (('{"instances": [1.0]}', "application/json"), ("1.0", "text/csv")):
            answer = stack.invoke(body, content_type)
            assert answer.status_code == 503, answer.text
            assert "version 2: " in answer.json()["error"]
        assert stack.ping().status_code == 503
        stack.wait_for(lambda: stack.state("model-net") == "STOPPED", 20, "stopped")
