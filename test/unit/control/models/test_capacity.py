"""Memory: what a container's limits leave, and what a model is estimated to need."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.cgroups import FakeGroups
from tfsd.control.models import capacity
from tfsd.control.models.capacity import MB, Capacity, NotEnoughMemory, estimate, free_memory
from tfsd.model_directory import FoundModel


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine with 1000 MB available, and two processes of our session with 30 and 20 MB, one of another's."""
    proc = tmp_path / "proc"
    for pid, session, kilobytes in (("1", 7, 30 * 1024), ("2", 7, 20 * 1024), ("3", 8, 500 * 1024)):
        (proc / pid).mkdir(parents=True)
        (proc / pid / "stat").write_text(f"{pid} (a) b) S 1 {pid} {session} 0\n")
        (proc / pid / "smaps_rollup").write_text(
            f"0-1 ---p 0 0 0 [rollup]\nRss: 999999 kB\nPss: {kilobytes} kB\n"
        )
    (proc / "self").symlink_to("1")
    (proc / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {1000 * 1024} kB\n")
    return proc


def test_without_a_container_the_machine_counts(proc: Path) -> None:
    assert free_memory(proc=proc) == 1000 * MB


@pytest.mark.parametrize(("limit", "left"), [(500 * MB, 300 * MB), (5000 * MB, 1000 * MB)])
def test_a_containers_limit_counts_without_what_the_kernel_gives_back(
    tmp_path: Path, proc: Path, limit: int, left: int
) -> None:
    stat = f"anon 5\ninactive_file {100 * MB}"
    FakeGroups(tmp_path).v2(memory__max=str(limit), memory__current=str(300 * MB), memory__stat=stat)
    assert free_memory(proc=proc) == left


def test_a_limit_of_our_own_is_held_against_our_processes(proc: Path) -> None:
    assert free_memory(limit=200 * MB, proc=proc) == 150 * MB


def test_a_model_is_estimated_by_the_versions_that_are_served(tmp_path: Path) -> None:
    for version, size in (("1", 100), ("002", 50), ("003", 7), ("other", 1000)):
        (tmp_path / version / "variables").mkdir(parents=True)
        (tmp_path / version / "variables" / "data").write_bytes(b"x" * size)
    size = capacity.saved_model_bytes(FoundModel("m", tmp_path, (1, 2)))
    assert size == 150
    assert estimate(size, 1000, 2) == int(150 * capacity.SIZE_FACTOR) + 1000 + 2 * capacity.WORKER_BYTES


def test_loads_under_way_keep_their_memory() -> None:
    left = Capacity(lambda: 100 * MB)
    with left.reserve(60 * MB):
        with pytest.raises(NotEnoughMemory, match="needs about 50 MB, 40 MB are left"), left.reserve(50 * MB):
            pass
        with left.reserve(40 * MB):
            pass
    with left.reserve(100 * MB):
        pass
