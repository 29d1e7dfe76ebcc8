from __future__ import annotations

import io
import logging
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
