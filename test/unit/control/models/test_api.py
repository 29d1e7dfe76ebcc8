"""The routes of /models, called as WSGI: what an unload that the disk does not allow is answered with."""

from __future__ import annotations

import errno
import json
import logging
import os
from typing import Any

import pytest
from bottle import Bottle

from support.wsgi import get
from tfsd.control.models.api import add_routes
from tfsd.control.supervisor_client import SupervisorError
from tfsd.errors import NotFound
from tfsd.plan import Model


class Loaded:
    """In place of the models of control: one called `m` is loaded."""

    def get(self, name: str) -> Model:
        if name != "m":
            raise NotFound(f"Model {name} is not loaded yet.")
        return Model("m", "/m", (1,), ())

    unload = get


class Failing:
    """In place of the models of control: to unload one raises `error`."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def unload(self, name: str) -> None:
        raise self._error


def unload(error: Exception) -> tuple[int, str]:
    """Status and error text of a DELETE."""
    app = Bottle()
    models: Any = Failing(error)
    add_routes(app, models)
    status, headers, body = get(app, "/models/m", "DELETE")
    assert headers["Content-Type"] == "application/json"
    return status, json.loads(body)["error"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT], ids=errno.errorcode.get)
def test_a_full_disk_is_a_507(number: int, caplog: pytest.LogCaptureFixture) -> None:
    error = OSError(number, os.strerror(number), "/run/tfsd/plan.json")
    with caplog.at_level(logging.ERROR):
        assert unload(error) == (507, f"The disk of the run directory is full: {error}.")
    assert caplog.messages == [f"A request about models failed: {error}."]


def test_another_fault_of_the_disk_is_a_500_with_its_text() -> None:
    error = OSError(errno.EIO, os.strerror(errno.EIO), "/run/tfsd/plan.json")
    assert unload(error) == (500, f"{error}.")


def test_a_supervisord_that_does_not_answer_is_a_500_with_its_text() -> None:
    error = SupervisorError("supervisord does not answer on /run/tfsd/supervisor.sock: timed out")
    assert unload(error) == (500, f"{error}.")


def test_a_model_that_is_not_there_is_a_404() -> None:
    assert unload(NotFound("Model m is not loaded yet.")) == (404, "Model m is not loaded yet.")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(("path", "status"), [("m", 200), ("m\xff", 404), ("\x80m", 404), ("\xc3\xbc", 404)])
def test_a_name_that_is_not_utf_8_is_nobody_s(method: str, path: str, status: int) -> None:
    """A path is decoded as Latin-1 in WSGI (PEP 3333); Bottle leaves out what is not UTF-8."""
    app = Bottle()
    models: Any = Loaded()
    add_routes(app, models)
    answered, _, body = get(app, f"/models/{path}", method)
    assert (answered, "is not loaded" in json.loads(body).get("error", "")) == (status, status == 404)
