"""What a new control says before it has heard of everything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tfsd.control.health.health import FRESH_SECONDS
from tfsd.control.health.last_verdict import HOLDS_SECONDS, LastVerdict
from tfsd.run_dir import RunDir

PROBLEM = ["model 'm' is not available"]


class Successor:
    """A control that begins `seconds` after its predecessor last saw a healthy endpoint."""

    def __init__(self, run_dir: RunDir, seconds: float) -> None:
        self.verdict = LastVerdict(run_dir, lambda: run_dir.healthy.stat().st_mtime + seconds)

    def missing(self, complete: bool) -> list[str]:
        return self.verdict.missing(PROBLEM, complete)


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


@pytest.fixture
def healthy(run_dir: RunDir) -> RunDir:
    LastVerdict(run_dir, lambda: 0.0).note([])
    return run_dir


def test_the_first_control_of_all_says_what_it_sees(run_dir: RunDir) -> None:
    assert LastVerdict(run_dir, lambda: 5.0).missing(PROBLEM, complete=False) == PROBLEM


@pytest.mark.parametrize(
    ("seconds", "complete", "healthy_still"),
    [
        (1.0, False, True),
        (1.0, True, True),  # as a control that was not restarted would have it
        (FRESH_SECONDS + 1, True, False),
        (FRESH_SECONDS + 1, False, True),
        (HOLDS_SECONDS + 1, False, False),
        (-1.0, False, False),  # the clock was set back
    ],
)
def test_a_predecessor_s_word_holds_for_a_while(
    healthy: RunDir, seconds: float, complete: bool, healthy_still: bool
) -> None:
    assert Successor(healthy, seconds).missing(complete) == ([] if healthy_still else PROBLEM)


def test_a_predecessor_that_saw_a_problem_leaves_no_good_word(healthy: RunDir) -> None:
    LastVerdict(healthy, lambda: 0.0).note(PROBLEM)
    assert LastVerdict(healthy, lambda: 1.0).missing(PROBLEM, complete=False) == PROBLEM


def test_the_mark_is_touched_each_time(healthy: RunDir) -> None:
    os.utime(healthy.healthy, (1, 1))
    LastVerdict(healthy, lambda: 0.0).note([])
    assert healthy.healthy.stat().st_mtime > 1


def test_a_mark_that_cannot_be_written_is_told_once(
    run_dir: RunDir, caplog: pytest.LogCaptureFixture
) -> None:
    (run_dir.path / f".{run_dir.healthy.name}.partial").mkdir()
    verdict = LastVerdict(run_dir, lambda: 0.0)
    verdict.note([])
    verdict.note([])
    assert caplog.text.count("Cannot note whether the endpoint is healthy") == 1
