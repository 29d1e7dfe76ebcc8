"""Stacks that are designed and rendered, not run; and what supervisord reads in them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supervisor.options import ServerOptions

from tfsd.model_directory import Code, FoundModel, UserCode
from tfsd.run_dir import RunDir
from tfsd.settings import Settings
from tfsd.stack.design import Machine, Stack, design
from tfsd.stack.nginx import Nginx

ODD_NAMES = [
    "half plus two",
    "half-plus-two",
    "half_plus_two",
    "übergröße 模型",
    "it's",
    'say "hi"',
    "a ; b # c",
    "50% %(here)s",
    "$HOME",
    "a,b=c",
    "{{x}}",
    "default",
    "nginx",
    "control",
    "x" * 200,
    "X" * 200,
    "-",
    "~^(?i)x",
    "back\\slash",
]
NGINX = Nginx("/usr/sbin/nginx", njs=True)


def design_stack(
    run_dir: Path,
    models: Mapping[str, tuple[int, ...]],
    environ: Mapping[str, str] | None = None,
    codes: Mapping[str | None, Code] | None = None,
    machine: Machine | None = None,
    nginx: Nginx = NGINX,
) -> Stack:
    """A stack for models by name, each with its versions, on a machine of two CPUs."""
    found = [FoundModel(name, Path("/opt/ml/model") / name, versions) for name, versions in models.items()]
    settings = Settings.from_environ(environ or {}, cpus=2)
    return design(
        settings, RunDir(run_dir), found, codes or {}, machine or Machine(cpus=2), nginx, ["model_server"]
    )


def own_code(name: str) -> Code:
    directory = Path("/opt/ml/model") / name / "code"
    return Code(UserCode(directory, directory / "inference.py", directory / "lib"), "/venv/bin/python")


def supervised(stack: Stack) -> dict[str, list[str]]:
    """The commands of all programs, by name, as supervisord reads the stack's file."""
    return {name: shlex.split(process.command) for name, process in processes(stack).items()}


def processes(stack: Stack) -> dict[str, Any]:
    found = [process for group in groups(stack) for process in group.process_configs]
    by_name = {process.name: process for process in found}
    assert len(by_name) == len(found)
    return by_name


def groups(stack: Stack) -> list[Any]:
    stack.write()
    options = ServerOptions()
    options.realize(["-c", str(stack.run_dir.supervisord_conf)])
    configs: list[Any] = options.process_group_configs
    return configs
