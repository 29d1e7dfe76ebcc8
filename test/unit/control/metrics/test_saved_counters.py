"""What is kept over control's own restarts, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfsd.control.metrics.request_log import Position
from tfsd.control.metrics.saved_counters import Memory
from tfsd.control.supervisor_client import Process
from tfsd.run_dir import RunDir

LINE = b"2026-01-01T00:00:00+00:00\tdirect\tm\t200\t0.002\t1\t-\t-\tid"


def fill(memory: Memory) -> None:
    memory.requests.add([LINE, LINE], ["m"])
    memory.restarts.processes_seen({"a": Process("a", "RUNNING", 1, 0)})
    memory.restarts.processes_seen({"a": Process("a", "RUNNING", 2, 0)})


def test_counters_and_position_come_back_together(tmp_path: Path) -> None:
    memory = Memory(RunDir(tmp_path))
    fill(memory)
    memory.save(Position(7, 90))

    again = Memory(RunDir(tmp_path))

    assert again.position == Position(7, 90)
    assert again.requests.requests == {("direct", "m", "200"): 2}
    assert again.requests.latencies == memory.requests.latencies
    assert (again.restarts.counts, again.restarts.pids) == ({"a": 1}, {"a": 2})


def test_another_start_of_the_stack_starts_at_zero(tmp_path: Path) -> None:
    memory = Memory(RunDir(tmp_path))
    fill(memory)
    memory.save(Position(7, 90))
    (tmp_path / "supervisor.sock").touch()

    again = Memory(RunDir(tmp_path))

    assert (again.position, dict(again.requests.requests), again.restarts.pids) == (None, {}, {})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"stack": ""}', '{"stack": "", "requests": 1}'])
def test_a_state_that_cannot_be_read_is_no_obstacle(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "control.state.json").write_text(content)

    memory = Memory(RunDir(tmp_path))

    assert memory.position is None
    assert "Counters start at zero" in caplog.text
    fill(memory)
    memory.save(None)
    assert Memory(RunDir(tmp_path)).requests.requests == memory.requests.requests
