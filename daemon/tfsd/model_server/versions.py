"""Which versions of a model its directory and its version policy ask for. Never loads anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tfsd.model_server.errors import Code, ServingError

_VERSION = re.compile(r"\d+", re.ASCII)
_MAX_VERSION = 2**63 - 1

#: The names in a directory, or None when there is no such directory.
ListDirectory = Callable[[str], Iterable[str] | None]


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which of the versions found are served: exactly one of the three.

    Attributes:
        latest: the newest so many; 0 of all three set means the newest one.
        all: every version.
        specific: these versions.
    """

    latest: int = 1
    all: bool = False
    specific: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model of the configuration."""

    name: str
    base_path: str
    policy: VersionPolicy = VersionPolicy()
    labels: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What one look at a model's directory gave.

    Attributes:
        versions: version -> directory, of those that the policy asks for.
        warnings: what the operator should know, in the real server's words.
    """

    versions: dict[int, str]
    warnings: tuple[str, ...] = ()


def find_versions(config: ModelConfig, list_directory: ListDirectory) -> Found:
    """Look for a model's versions: subdirectories whose name is a number.

    Raises ServingError: NOT_FOUND when the base path does not exist.
    """
    children = list_directory(config.base_path)
    if children is None:
        raise ServingError(
            Code.NOT_FOUND,
            f"Could not find base path {config.base_path} for servable {config.name} with error NOT_FOUND: "
            f"{config.base_path} not found",
        )
    present = {}
    for child in sorted(children):
        child = child.rstrip("/")
        if _VERSION.fullmatch(child) and int(child) <= _MAX_VERSION:
            present[int(child)] = f"{config.base_path.rstrip('/')}/{child}"
    chosen, warnings = _choose(config, present)
    if not chosen:
        warnings.append(
            f"No versions of servable {config.name} found under base path {config.base_path}. Did you forget "
            "to name your leaf directory as a number (eg. '/1/')?"
        )
    return Found({version: present[version] for version in chosen}, tuple(warnings))


def _choose(config: ModelConfig, present: dict[int, str]) -> tuple[list[int], list[str]]:
    policy = config.policy
    if policy.specific is not None:
        missing = [version for version in policy.specific if version not in present]
        warnings = [
            f"Version {version} of servable {config.name}, which was requested to be served as a 'specific' "
            "version in the servable's version policy, was not found in the file system"
            for version in missing
        ]
        return sorted({version for version in policy.specific if version in present}), warnings
    newest_last = sorted(present)
    return (newest_last if policy.all else newest_last[-max(1, policy.latest) :]), []
