"""The versions on the metrics page."""

from __future__ import annotations

import sys
from pathlib import Path

import gevent
import pytest

from tfsd import __version__
from tfsd.control.metrics.build_info import BuildInfo
from tfsd.control.metrics.page import render
from tfsd.stack.model_server_flags import EMBEDDED


def page(info: BuildInfo) -> str:
    return render(info.metrics()).decode()


def test_the_embedded_server_has_our_version() -> None:
    text = page(BuildInfo([sys.executable, *EMBEDDED]))
    assert 'model_server="embedded"' in text
    assert f'model_server_version="{__version__}"' in text


@pytest.mark.parametrize(
    ("output", "version", "tensorflow"),
    [
        (
            "TensorFlow ModelServer: 2.20.0-rc1+dev.sha.abc\nTensorFlow Library: 2.20.1\n",
            "2.20.0-rc1+dev.sha.abc",
            "2.20.1",
        ),
        ("something else\n", "", ""),
    ],
)
def test_a_binary_is_asked_once_and_when_it_is_wanted(
    tmp_path: Path, output: str, version: str, tensorflow: str
) -> None:
    binary = tmp_path / "tensorflow_model_server"
    binary.write_text(f"#!/bin/sh\ncat <<END\n{output}END\necho asked >> {tmp_path}/asked\n")
    binary.chmod(0o755)
    info = BuildInfo([str(binary)])
    wanted = (
        f'model_server="tensorflow_model_server",model_server_version="{version}",tensorflow="{tensorflow}"'
    )
    assert not (tmp_path / "asked").exists()
    with gevent.Timeout(20):
        while not (wanted in page(info) and (tmp_path / "asked").exists()):
            gevent.sleep(0.01)
    assert wanted in page(info)
    assert (tmp_path / "asked").read_text() == "asked\n"
