"""One model with handlers in a container: the example, mounted read-only."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.docker import ROOT, Composed, StartEndpoint

DIGITS = ROOT / "examples" / "digits"
IMAGE = (DIGITS / "sample.png").read_bytes()


@pytest.fixture(scope="module")
def digits(start_endpoint: StartEndpoint) -> Composed:
    return start_endpoint(DIGITS)


def test_handlers_read_an_image(digits: Composed) -> None:
    answer = digits.invoke(IMAGE, "application/x-image")
    assert answer.status_code == 200
    assert answer.json()["digit"] == 7


def test_a_handler_refuses_with_its_own_status(digits: Composed) -> None:
    answer = digits.invoke("1,2", "text/csv")
    assert answer.status_code == 415
    assert "send a PNG or JPEG" in answer.json()["error"]


def test_health(digits: Composed) -> None:
    ping = digits.get("/ping")
    assert (ping.status_code, ping.content) == (200, b"")


def test_the_model_cannot_be_written_to(digits: Composed) -> None:
    """docker-compose.yml mounts it read-only, which serving above did not mind."""
    with pytest.raises(AssertionError, match="Read-only file system"):
        digits.run("touch", "/opt/ml/model/file")
    assert not (DIGITS / "file").exists()


def test_operators_look_inside(digits: Composed) -> None:
    status = digits.run("supervisorctl", "-c", "/run/tfsd/supervisord.conf", "status")
    assert {line.split()[1] for line in status.splitlines()} == {"RUNNING"}


def test_bad_settings_end_the_container_with_one_line(image: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["docker", "run", "--rm", "--env", "SAGEMAKER_BATCH=perhaps", image, "serve"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "SAGEMAKER_BATCH" in done.stderr
    assert "Traceback" not in done.stderr
