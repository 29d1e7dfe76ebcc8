"""What the control groups that this process is in leave it of the machine: CPUs and memory.

A limit may stand at any level, a pod's as well as a container's, and the least of them counts. Both versions are read,
together where a machine has both (man 7 cgroups). Reads the kernel's files; only what it mounts here can be seen, which
in a container without a cgroup namespace of its own is often its own group alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PROC = Path("/proc")
UNLIMITED = 1 << 60  # version 1 says so with a number near 2^63


def cpu_quota(proc: Path = PROC) -> float | None:
    """How many CPUs' time the groups may use; None when no group is limited."""
    quotas = [_quota_v2(directory) for directory in _directories(proc)]
    quotas += [_quota_v1(directory) for directory in _directories(proc, "cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_limit(proc: Path = PROC) -> int | None:
    """Bytes of memory that the groups may use; None when no group is limited."""
    return min((limit for limit, _ in _memory(proc)), default=None)


def memory_left(proc: Path = PROC) -> int | None:
    """Bytes that the groups may still use, what the kernel gives back on demand included; None without a limit."""
    return min((limit - used for limit, used in _memory(proc)), default=None)


def _memory(proc: Path) -> Iterator[tuple[int, int]]:
    """Of each group that is limited: its limit, and what of it is used for good."""
    for controller, limit, usage, cache in (
        (None, "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        for directory in _directories(proc, controller):
            allowed = _number(directory / limit)
            if allowed is not None and allowed < UNLIMITED:
                kept = _number(directory / usage) or 0
                yield allowed, kept - number_after(directory / "memory.stat", cache)


def _directories(proc: Path, controller: str | None = None) -> Iterator[Path]:
    """Our group of a controller of version 1, or of version 2 when none is given, and all above it that are mounted."""
    path = _own_group(proc, controller)
    mount = _mount(proc, controller)
    if path is None or mount is None:
        return
    root, directory = mount
    inside = path.relative_to(root) if path.is_relative_to(root) else PurePosixPath()
    own = directory / inside
    yield own
    for parent in own.parents:
        if not parent.is_relative_to(directory):
            break
        yield parent


def _own_group(proc: Path, controller: str | None) -> PurePosixPath | None:
    """Where we are in the hierarchy, by /proc/self/cgroup: lines `ID:CONTROLLERS:PATH`, `0::PATH` for version 2."""
    for line in _lines(proc / "self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(",") if controller else (number, controllers) == ("0", ""):
            return PurePosixPath(path)
    return None


def _mount(proc: Path, controller: str | None) -> tuple[PurePosixPath, Path] | None:
    """Which group is mounted where, by /proc/self/mountinfo (man 5 proc)."""
    for line in _lines(proc / "self/mountinfo"):
        fields, _, more = line.partition(" - ")
        kind, _, options = more.partition(" ")
        words = fields.split(" ")
        fits = controller in options.split(" ")[-1].split(",") if controller else True
        if len(words) > 4 and kind == ("cgroup" if controller else "cgroup2") and fits:
            return PurePosixPath(_unescaped(words[3])), Path(_unescaped(words[4]))
    return None


def _unescaped(field: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field


def _quota_v2(directory: Path) -> float | None:
    """`cpu.max` has the quota, or `max`, and the period."""
    words = (*_lines(directory / "cpu.max"), "")[0].split()
    return _ratio(words[0], words[1]) if len(words) == 2 else None


def _quota_v1(directory: Path) -> float | None:
    quota, period = (_lines(directory / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return _ratio(quota[0], period[0]) if quota and period else None


def _ratio(quota: str, period: str) -> float | None:
    """None for `max` and -1, which are no limits, and for a period that is none."""
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _number(path: Path) -> int | None:
    text = "".join(_lines(path))
    return int(text) if text.isdigit() else None  # `max` is no number


def number_after(path: Path, name: str) -> int:
    """The number after `name` in a file of lines; 0 when there is none."""
    for line in _lines(path):
        words = line.split()
        if len(words) > 1 and words[0] == name and words[1].isdigit():
            return int(words[1])
    return 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, ValueError):
        return []
