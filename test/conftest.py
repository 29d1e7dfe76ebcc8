"""What holds for all tests: hypothesis without deadlines, and nothing that hangs, whatever it hangs in.

A loaded machine may be slow at any time, so that no example has a deadline. pytest-timeout ends a test by an exception
in Python code, once: what blocks in C, a finalizer after it, or gevent's loop would wait on. So each phase of a test
has a limit above that one, by a thread of C's: it prints all stacks and ends the process. A test run that lost a
process is no test run, whatever the others say.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import sys
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import tfsd.model_server  # noqa: F401  before TensorFlow, of which no more is imported than is used

sys.modules["keras"] = None  # type: ignore[assignment]  # TensorFlow's package would import it, half of its time

MORE_SECONDS = 60  # than pytest-timeout gives

settings.register_profile("tfsd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("deep", parent=settings.get_profile("tfsd"), max_examples=1000)
settings.load_profile("tfsd")

STDERR = pytest.StashKey[int]()
LOST = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep stderr before it is captured. Who ends a test run by SIGTERM sees where it was."""
    config.stash[STDERR] = os.dup(2)
    faulthandler.register(signal.SIGTERM, file=config.stash[STDERR], chain=True)


def pytest_collection_finish() -> None:
    """What has been imported and collected stays: no later garbage collection looks at it again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    return (yield from _bounded(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    return (yield from _bounded(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    return (yield from _bounded(item))


def _bounded(item: pytest.Item) -> Generator[None]:
    marker = item.get_closest_marker("timeout")
    seconds = float(marker.args[0] if marker else item.config.getini("timeout"))
    faulthandler.dump_traceback_later(seconds + MORE_SECONDS, exit=True, file=item.config.stash[STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """One of pytest-xdist's processes has ended, in order or not."""
    if error is not None:
        node.config.stash[LOST] = True


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.stash.get(LOST, False):
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
