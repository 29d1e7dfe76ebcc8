from __future__ import annotations

import io
import logging
import logging.config
from collections.abc import Iterator
from typing import Any

import pytest

from tfsd import logs


@pytest.fixture
def root() -> Iterator[Any]:
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_an_event_is_one_line_with_the_program(root: Any) -> None:
    stream = io.StringIO()
    logs.setup("worker-50%", logging.INFO, stream)
    root.info("model %s\nfake line", "half\rplus")
    root.debug("not shown")
    assert stream.getvalue().endswith(" worker-50% INFO model half\\rplus\\nfake line\n")
    assert stream.getvalue().count("\n") == 1


def test_a_traceback_is_kept(root: Any) -> None:
    stream = io.StringIO()
    logs.setup("control", logging.INFO, stream)
    try:
        raise ValueError("broken")
    except ValueError:
        root.exception("it failed")
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("control ERROR it failed")
    assert lines[-1] == "ValueError: broken"


def test_user_codes_configuration_does_not_silence_us(root: Any) -> None:
    stream = io.StringIO()
    ours, theirs = logging.getLogger("tfsd.test_logs"), logging.getLogger("test_logs")
    logs.setup("worker", logging.INFO, stream)
    logging.config.dictConfig({"version": 1})  # by default disables every logger that it does not name
    try:
        ours.error("user code failed")
        assert theirs.disabled
        assert stream.getvalue().endswith(" worker ERROR user code failed\n")
    finally:
        for logger in logging.Logger.manager.loggerDict.values():
            if isinstance(logger, logging.Logger):
                logger.disabled = False
