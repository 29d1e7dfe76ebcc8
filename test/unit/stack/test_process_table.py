"""What supervisord writes down of its processes, and when."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from supervisor import events
from supervisor.states import ProcessStates, SupervisorStates

from tfsd.run_dir import RunDir
from tfsd.stack.process_table import ProcessTable


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Any]:
    """A supervisord with one process that runs."""
    sleeper: Any = SimpleNamespace(
        config=SimpleNamespace(name="sleeper-0"),
        get_state=lambda: sleeper.state,
        state=ProcessStates.RUNNING,
        pid=12,
        laststart=1.9,
        spawnerr=None,
        backoff=0,
    )
    group = SimpleNamespace(config=SimpleNamespace(name="sleepers"), processes={"sleeper-0": sleeper})
    options = SimpleNamespace(configfile=str(tmp_path / "supervisord.conf"), mood=SupervisorStates.RUNNING)
    yield SimpleNamespace(options=options, process_groups={"sleepers": group}, sleeper=sleeper)
    events.clear()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return RunDir(tmp_path).processes


def test_what_control_wants_to_know(supervisor: Any, path: Path) -> None:
    ProcessTable(supervisor).write()
    [process] = json.loads(path.read_text())
    assert process == {
        "name": "sleeper-0",
        "group": "sleepers",
        "statename": "RUNNING",
        "pid": 12,
        "start": 1,
        "spawnerr": "",
    }


def test_a_change_is_written_when_it_is_complete(supervisor: Any, path: Path) -> None:
    """supervisor tells of a start before the process has an id."""
    table = ProcessTable(supervisor)
    table.write()
    supervisor.sleeper.pid = 0
    table.write()
    assert json.loads(path.read_text())[0]["pid"] == 12
    events.notify(events.ProcessStateStartingEvent(supervisor.sleeper, ProcessStates.EXITED))
    supervisor.sleeper.pid = 13
    table.write()
    assert json.loads(path.read_text())[0]["pid"] == 13
    supervisor.process_groups.clear()
    events.notify(events.ProcessGroupRemovedEvent("sleepers"))
    table.write()
    assert json.loads(path.read_text()) == []


def test_it_is_touched_as_long_as_the_loop_turns(
    supervisor: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfsd.stack.process_table.TOUCH_SECONDS", 0)
    table = ProcessTable(supervisor)
    table.write()
    os.utime(path, (1, 1))
    table.write()
    assert path.stat().st_mtime > 1


def test_there_is_none_once_the_stack_stops(supervisor: Any, path: Path) -> None:
    table = ProcessTable(supervisor)
    table.write()
    supervisor.options.mood = SupervisorStates.SHUTDOWN
    table.write()
    assert json.loads(path.read_text()) is None
    events.notify(events.ProcessGroupRemovedEvent("sleepers"))
    table.write()
    assert json.loads(path.read_text()) is None


def test_one_that_cannot_be_written_is_removed_and_tried_again(
    supervisor: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError

    table = ProcessTable(supervisor)
    table.write()
    events.notify(events.ProcessGroupAddedEvent("more"))
    with monkeypatch.context() as patch:
        patch.setattr("tfsd.stack.process_table.replace", full)
        table.write()
    assert not path.exists()
    table.write()
    assert path.exists()
