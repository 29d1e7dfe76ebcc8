"""uv in pip's place: it installs what is locked in a fifth of pip's CPU time. Standard library only.

It reads none of pip's configuration, which says where packages come from: that is handed on. Where pip is told what uv
has no word for, pip has to do it.
"""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

#: pip's settings that uv has a word for, with what it is given.
OPTIONS: Mapping[str, Callable[[str], list[str]]] = {
    "cert": lambda file: ["--cert", file],
    "extra-index-url": lambda urls: _each("--extra-index-url", urls),
    "find-links": lambda places: _each("--find-links", places),
    "index-url": lambda url: ["--index-url", url],
    "no-index": lambda told: ["--no-index"] if told.lower() in ("1", "true", "yes", "on") else [],
    "trusted-host": lambda hosts: _each("--allow-insecure-host", hosts),
}
#: Those that are of no consequence to what is locked: each file is known, and nothing is built or asked for.
WITHOUT_EFFECT = {
    "break-system-packages",
    "build-constraint",
    "cache-dir",
    "compile",
    "config-file",
    "constraint",
    "default-timeout",
    "disable-pip-version-check",
    "no-build-isolation",
    "no-cache-dir",
    "no-color",
    "no-compile",
    "no-input",
    "no-python-version-warning",
    "no-warn-script-location",
    "prefer-binary",
    "progress-bar",
    "quiet",
    "require-virtualenv",
    "retries",
    "root-user-action",
    "timeout",
    "upgrade",
    "verbose",
}
SECTIONS = ("global", "install", ":env:")  # the last one counts


def command(python: Path, target: Path) -> list[str] | None:
    """`uv pip install` into the environment of `target`, an interpreter; None when pip has to do it.

    `python` is the interpreter whose pip is configured, and beside which uv is, if it could be had.
    """
    program = python.with_name("uv")
    if not program.exists():
        return None
    listed = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True)
    options = arguments(listed.stdout) if listed.returncode == 0 else None
    if options is None:
        return None
    return [str(program), "pip", "install", "--python", str(target), *options]


def arguments(configuration: str) -> list[str] | None:
    """The options of `uv pip install` that mean what pip is configured to; None when there are none.

    Args:
        configuration: what `pip config list` prints.
    """
    settings: dict[str, str] = {}
    for wanted in SECTIONS:
        for line in configuration.splitlines():
            name, _, value = line.partition("=")
            section, _, key = name.partition(".")
            if section == wanted:
                settings[key] = str(ast.literal_eval(value))
    if not settings.keys() <= OPTIONS.keys() | WITHOUT_EFFECT:
        return None
    # as pip: a file may come from any of the indices, and certificates are the system's
    options = ["--index-strategy", "unsafe-best-match", "--system-certs"]
    for key, value in settings.items():
        if key in OPTIONS:
            options += OPTIONS[key](value)
    return options


def _each(option: str, values: str) -> list[str]:
    return [word for value in values.split() for word in (option, value)]
