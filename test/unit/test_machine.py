"""What a container may use of its machine, from fake files of the kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.cgroups import FakeGroups
from tfsd.machine import available_cpus, gpus, memory_bytes


@pytest.fixture(autouse=True)
def four_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})


@pytest.mark.parametrize(
    ("cpu_max", "cpus"),
    [
        ("max 100000", 4),
        ("100000 100000", 1),
        ("150000 100000", 2),
        ("1000 100000", 1),
        ("800000 100000", 4),
    ],
)
def test_a_quota_is_rounded_up_to_whole_cpus(tmp_path: Path, cpu_max: str, cpus: int) -> None:
    assert available_cpus(FakeGroups(tmp_path).v2(cpu__max=cpu_max).proc) == cpus


def test_no_quota_leaves_the_affinity(tmp_path: Path) -> None:
    assert available_cpus(tmp_path / "missing") == 4


def test_gpus_are_the_devices_in_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("nvidia10", "nvidia2", "nvidia0", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert gpus({}, tmp_path) == ("0", "2", "10")


def test_no_device_is_no_gpu(tmp_path: Path) -> None:
    assert gpus({}, tmp_path) == ()


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("0", ("0",)),
        (" 1, 0 ", ("1", "0")),
        ("GPU-8932f937-d72c,GPU-1", ("GPU-8932f937-d72c", "GPU-1")),
        ("", ()),
        ("-1", ()),
        ("0,-1,1", ("0",)),
    ],
)
def test_cuda_visible_devices_has_the_last_word(tmp_path: Path, visible: str, names: tuple[str, ...]) -> None:
    """As CUDA reads it: what follows an index that names no device is not visible either."""
    (tmp_path / "nvidia7").touch()
    assert gpus({"CUDA_VISIBLE_DEVICES": visible}, tmp_path) == names


@pytest.mark.parametrize(
    ("limit", "expected"), [("max", 2 << 20), (str(1 << 20), 1 << 20), (str(1 << 40), 2 << 20)]
)
def test_memory(tmp_path: Path, limit: str, expected: int) -> None:
    groups = FakeGroups(tmp_path).v2(memory__max=limit)
    (groups.proc / "meminfo").write_text("MemTotal:        2048 kB\nMemFree: 1 kB\n")
    assert memory_bytes(groups.proc) == expected
