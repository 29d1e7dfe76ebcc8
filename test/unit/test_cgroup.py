"""What control groups leave a process, from fake files of the kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.cgroups import FakeGroups
from tfsd import cgroup

UNLIMITED_V1 = str(2**63 - 4096)


@pytest.mark.parametrize(
    ("cpu_max", "quota"),
    [
        ("max 100000", None),
        ("150000 100000", 1.5),
        ("1000 100000", 0.01),
        ("nonsense", None),
        ("", None),
        ("1 0", None),
    ],
)
def test_quota_of_version_2(tmp_path: Path, cpu_max: str, quota: float | None) -> None:
    assert cgroup.cpu_quota(FakeGroups(tmp_path).v2(cpu__max=cpu_max).proc) == quota


@pytest.mark.parametrize(
    ("text", "quota"), [("-1", None), ("250000", 2.5), ("50000", 0.5), ("nonsense", None)]
)
def test_quota_of_version_1(tmp_path: Path, text: str, quota: float | None) -> None:
    groups = FakeGroups(tmp_path).v1("cpu", cpu__cfs_quota_us=text, cpu__cfs_period_us="100000")
    assert cgroup.cpu_quota(groups.proc) == quota


def test_no_group_is_no_limit(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    assert (cgroup.cpu_quota(proc), cgroup.memory_limit(proc), cgroup.memory_left(proc)) == (None, None, None)


@pytest.mark.parametrize(("outer", "inner"), [("200000 100000", "max 100000"), ("max 100000", "200000 100000"),
                                              ("200000 100000", "300000 100000")])  # fmt: skip
def test_the_least_quota_of_all_levels_counts(tmp_path: Path, outer: str, inner: str) -> None:
    """As of a pod that is limited and its container that is not, or the other way round."""
    groups = FakeGroups(tmp_path, own="/pod/container").v2("pod", cpu__max=outer)
    assert cgroup.cpu_quota(groups.v2("pod/container", cpu__max=inner).proc) == 2


def test_the_least_memory_of_all_levels_counts(tmp_path: Path) -> None:
    groups = FakeGroups(tmp_path, own="/pod/container")
    groups.v1("memory", "pod", memory__limit_in_bytes="1000", memory__usage_in_bytes="900")
    groups.v1("memory", "pod/container", memory__limit_in_bytes="800", memory__usage_in_bytes="100")
    assert cgroup.memory_limit(groups.proc) == 800
    assert cgroup.memory_left(groups.proc) == 100  # of the pod's: another container uses the rest


def test_a_container_without_a_namespace_sees_its_own_group_as_the_mounts_root(tmp_path: Path) -> None:
    groups = FakeGroups(tmp_path, own="/docker/0a1b", mounted="/docker/0a1b")
    assert cgroup.memory_limit(groups.v1("memory", memory__limit_in_bytes="1000").proc) == 1000


def test_a_group_below_that_of_the_container(tmp_path: Path) -> None:
    groups = FakeGroups(tmp_path, own="/docker/0a1b/service", mounted="/docker/0a1b")
    groups.v1("memory", memory__limit_in_bytes="1000")
    assert cgroup.memory_limit(groups.v1("memory", "service", memory__limit_in_bytes="500").proc) == 500


def test_a_group_that_is_not_mounted_leaves_what_is(tmp_path: Path) -> None:
    groups = FakeGroups(tmp_path, own="/../elsewhere", mounted="/here")
    assert cgroup.memory_limit(groups.v2(memory__max="1000").proc) == 1000


def test_both_versions_side_by_side(tmp_path: Path) -> None:
    groups = FakeGroups(tmp_path).v2(cpu__max="max 100000").v1("memory", memory__limit_in_bytes="1000")
    groups.v1("cpu", cpu__cfs_quota_us="100000", cpu__cfs_period_us="100000")
    assert (cgroup.cpu_quota(groups.proc), cgroup.memory_limit(groups.proc)) == (1, 1000)


def v1(groups: FakeGroups, limit: str, used: int, cache: int) -> FakeGroups:
    stat = f"inactive_file 5\ntotal_inactive_file {cache}"
    return groups.v1(
        "memory", memory__limit_in_bytes=limit, memory__usage_in_bytes=str(used), memory__stat=stat
    )


def v2(groups: FakeGroups, limit: str, used: int, cache: int) -> FakeGroups:
    stat = f"anon 5\ninactive_file {cache}"
    return groups.v2(memory__max=limit, memory__current=str(used), memory__stat=stat)


@pytest.mark.parametrize("make", [v1, v2])
def test_what_the_kernel_gives_back_is_left(tmp_path: Path, make: Callable[..., FakeGroups]) -> None:
    groups = make(FakeGroups(tmp_path), "500", 300, 100)
    assert (cgroup.memory_limit(groups.proc), cgroup.memory_left(groups.proc)) == (500, 300)


@pytest.mark.parametrize(("make", "unlimited"), [(v1, UNLIMITED_V1), (v2, "max")])
def test_a_group_without_a_limit(tmp_path: Path, make: Callable[..., FakeGroups], unlimited: str) -> None:
    assert cgroup.memory_limit(make(FakeGroups(tmp_path), unlimited, 300, 0).proc) is None


def test_this_machines_own_files_can_be_read() -> None:
    assert (cgroup.cpu_quota() or 1) > 0
    assert (cgroup.memory_limit() or 1) > 0
