"""What a container may use of its machine, from fake files of the kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tfsd.machine import available_cpus, gpus, memory_bytes


@pytest.fixture(autouse=True)
def four_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})


@pytest.mark.parametrize(
    ("cpu_max", "cpus"),
    [
        ("max 100000\n", 4),
        ("100000 100000\n", 1),
        ("150000 100000\n", 2),
        ("1000 100000\n", 1),
        ("800000 100000\n", 4),
        ("nonsense\n", 4),
    ],
)
def test_quota_of_cgroup_v2(tmp_path: Path, cpu_max: str, cpus: int) -> None:
    (tmp_path / "cpu.max").write_text(cpu_max)
    assert available_cpus(tmp_path) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("-1\n", 4), ("250000\n", 3), ("50000\n", 1)])
def test_quota_of_cgroup_v1(tmp_path: Path, quota: str, cpus: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert available_cpus(tmp_path) == cpus


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
    ("files", "expected"),
    [
        ({}, 2 << 20),
        ({"memory.max": "max\n"}, 2 << 20),
        ({"memory.max": "1048576\n"}, 1 << 20),
        ({"memory.max": f"{1 << 40}\n"}, 2 << 20),
        ({"memory/memory.limit_in_bytes": "1048576\n"}, 1 << 20),
    ],
)
def test_memory(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:        2048 kB\nMemFree: 1 kB\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory_bytes(tmp_path, tmp_path) == expected
