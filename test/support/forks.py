"""Tests side by side, in forks of the process that has collected them: `pytest -n N`.

pytest-xdist starts N Pythons, each of which imports and collects all tests, which for nine of them took as much CPU as
all linters. Here that is done once. The tests of a file run in one fork, in their order; whoever is free takes the next
file, in the order of the collection. Files with the same `pytestmark = pytest.mark.together(NAME)` are as one, since
they share what is made once for each fork.

A fork that does not come to its end makes the whole run an internal error, whatever the others say.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal, NoReturn

import pytest

#: What the first word of a fork's message may be: it wants a file, or tells of a test, a warning, or its end.
NEXT, REPORT, WARNING, END = "next", "report", "warning", "end"
NUMBER = pytest.StashKey[int]()  # of this fork
BROKEN = pytest.StashKey[list[str]]()  # what went wrong with forks


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("forks", "tests side by side")
    add = group._addoption  # the public one keeps short options for pytest itself
    add("-n", "--numprocesses", type=int, default=0, help="run the tests in so many forks")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "together(name): the tests of these files run in one fork")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Literal[True] | None:
    option = session.config.option
    if not option.numprocesses or option.collectonly or session.testsfailed or not session.items:
        return None  # pytest's own loop runs them, or says why not
    together: dict[object, list[pytest.Item]] = {}
    for item in session.items:
        marker = item.get_closest_marker("together")
        together.setdefault(marker.args if marker else item.path, []).append(item)
    files = list(together.values())
    broken = session.config.stash[BROKEN] = []
    broken += _run(session, files, min(option.numprocesses, len(files)))
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)
    return True


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.stash.get(BROKEN, []):
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for line in config.stash.get(BROKEN, []):
        terminalreporter.write_line(line, red=True)


def shared_directory(config: pytest.Config, basetemp: Path) -> Path:
    """A directory that all forks of this test run have in common; `basetemp` is this one's own."""
    return basetemp.parent if NUMBER in config.stash else basetemp


def _run(session: pytest.Session, files: Sequence[Sequence[pytest.Item]], count: int) -> Iterator[str]:
    """Have `count` forks run all files. Yields what went wrong with the forks themselves."""
    hook, waiting = session.config.hook, iter(range(len(files)))
    forks: dict[Connection[Any, Any], int] = {}
    try:
        for number in range(count):
            pipe, pid = _fork(session, files, number)
            forks[pipe] = pid
        while forks:
            ready = wait(list(forks))
            for pipe in [each for each in forks if each in ready]:
                try:
                    word, *said = pipe.recv()
                except (EOFError, OSError):
                    _, status = os.waitpid(forks.pop(pipe), 0)
                    code = os.waitstatus_to_exitcode(status)
                    yield f"A process of the tests ended with status {code} before its tests had."
                    continue
                if word == NEXT:
                    pipe.send(None if session.shouldfail or session.shouldstop else next(waiting, None))
                elif word == REPORT:
                    report = hook.pytest_report_from_serializable(config=session.config, data=said[0])
                    hook.pytest_runtest_logreport(report=report)
                elif word == WARNING:
                    hook.pytest_warning_recorded.call_historic(kwargs=said[0])
                else:
                    os.waitpid(forks.pop(pipe), 0)
                    yield from said
    finally:
        for pid in forks.values():  # after Ctrl-C, which they had, too
            os.waitpid(pid, 0)


def _fork(
    session: pytest.Session, files: Sequence[Sequence[pytest.Item]], number: int
) -> tuple[Connection[Any, Any], int]:
    """Our end of the pipe to a new fork, and its process id."""
    ours, theirs = multiprocessing.Pipe()
    session.config.get_terminal_writer().flush()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_fork(session, files, number, theirs)
    theirs.close()
    return ours, pid


def _be_fork(
    session: pytest.Session, files: Sequence[Sequence[pytest.Item]], number: int, pipe: Connection[Any, Any]
) -> NoReturn:
    """Run files for as long as there are any. No exit of Python's follows: a thread that a test left would delay it."""
    problems = []
    try:
        _settle(session.config, number, pipe)
        while not (session.shouldfail or session.shouldstop):
            pipe.send((NEXT,))
            place = pipe.recv()
            if place is None:
                break
            _run_file(session, files[place])
    except BaseException:
        problems.append(traceback.format_exc())
    try:
        session._setupstate.teardown_exact(None)  # fixtures of the session
    except BaseException:
        problems.append(traceback.format_exc())
    with contextlib.suppress(OSError):
        pipe.send((END, *problems))
    os._exit(0)


def _settle(config: pytest.Config, number: int, pipe: Connection[Any, Any]) -> None:
    """Have what forks must not share: captured output, temporary directories, the terminal."""
    from support.stack import end_with_parent

    end_with_parent()
    config.stash[NUMBER] = number
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    capture.suspend_global_capture()
    factory: Any = config._tmp_path_factory  # type: ignore[attr-defined]
    factory._basetemp = factory.getbasetemp() / f"fork-{number}"
    factory._basetemp.mkdir()
    config.pluginmanager.unregister(name="terminalreporter")
    config.pluginmanager.register(_Reporter(config, pipe))


class _Reporter:
    """Takes the terminal's place in a fork."""

    def __init__(self, config: pytest.Config, pipe: Connection[Any, Any]) -> None:
        self._config, self._pipe = config, pipe

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._pipe.send((REPORT, data))

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str, location: object
    ) -> None:
        if when != "runtest":
            return  # of the collection, which the other side has seen
        # of a class that the other side knows
        text = f"({warning_message.category.__name__}) {warning_message.message}"
        plain = warnings.WarningMessage(text, Warning, warning_message.filename, warning_message.lineno)
        known = {"warning_message": plain, "when": when, "nodeid": nodeid, "location": location}
        self._pipe.send((WARNING, known))


def _run_file(session: pytest.Session, items: Sequence[pytest.Item]) -> None:
    """Run a file's tests. What is next after its last one is the session: only fixtures of that stay."""
    for item, following in itertools.pairwise([*items, session]):
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail or session.shouldstop:
            return
