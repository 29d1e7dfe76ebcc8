"""Virtual environments for user code: one for each set of requirements, built on top of our own packages.

Environments live in the run directory and are reused while requirements and interpreter stay the same.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

from tfsd.errors import StartError
from tfsd.start.pip_errors import disk_is_full, explained

STAMP = "requirements.sha256"
KILLED = "was killed by SIGKILL, which is what the kernel does when memory runs out"
OF_OURS = re.compile(r"tfsd \S+ requires .*, but you have ")  # pip, about what it has just installed

log = logging.getLogger(__name__)


class RequirementsError(StartError):
    """pip could not install the requirements; the text is one line."""


class NoRoomError(StartError):
    """There is too little memory or disk to make the code ready; the text is one line."""


def prepare(directory: Path, requirements: Path) -> str:
    """The interpreter of the virtual environment in `directory`, with `requirements` installed.

    Our own packages are visible in it, after its own: a requirement that we have too may be of any version.
    Raises RequirementsError, NoRoomError, OSError.
    """
    python = str(directory / "bin" / "python")
    stamp, wanted = directory / STAMP, _digest(requirements)
    if stamp.is_file() and stamp.read_text() == wanted:
        log.info("The requirements %s are installed already.", requirements)
        return python
    shutil.rmtree(directory, ignore_errors=True)
    log.info("Installing %s.", requirements)
    import venv  # which most endpoints do without

    venv.create(directory, symlinks=True, system_site_packages=True)
    _show_our_packages(directory)
    _install(python, requirements)
    stamp.write_text(wanted)
    return python


def _show_our_packages(directory: Path) -> None:
    """Make the packages of this interpreter's own environment importable; in an image they are the system's."""
    ours = sysconfig.get_path("purelib")
    site = Path(sysconfig.get_path("purelib", vars={"base": str(directory)}, scheme="venv"))
    (site / "_tfsd.pth").write_text(f"import site; site.addsitedir({ours!r})\n")


def _install(python: str, requirements: Path) -> None:
    options = ["--no-input", "--disable-pip-version-check", "--no-cache-dir", "--progress-bar", "off"]
    command = [sys.executable, "-m", "pip", "--python", python, "install", *options, "-r", str(requirements)]
    done = subprocess.run(
        command, cwd=requirements.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    for line in lines:
        log.log(logging.WARNING if OF_OURS.match(line) else logging.INFO, "pip: %s", line)
    if done.returncode == -signal.SIGKILL:
        raise NoRoomError(f"cannot install {requirements}: pip {KILLED}")
    if done.returncode:
        kind = NoRoomError if disk_is_full(lines) else RequirementsError
        raise kind(f"cannot install {requirements}: {explained(lines) or 'pip fails'}")


def _digest(requirements: Path) -> str:
    """What an environment depends on: the interpreter and every text file that may be one of the requirements."""
    parts = [sys.version.encode(), sys.prefix.encode(), requirements.name.encode()]
    parts += [path.name.encode() + path.read_bytes() for path in sorted(requirements.parent.glob("*.txt"))]
    parts.append(requirements.read_bytes())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
