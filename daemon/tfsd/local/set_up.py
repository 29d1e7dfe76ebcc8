"""What bin/local does before anything is installed: makes `.venv/`, installs what a verb needs, runs the verb in it.

Owns `.venv/`. Runs under the system's Python and imports nothing but the standard library and its own neighbours
that do the same.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tfsd.errors import os_problem, sentence
from tfsd.local import uv
from tfsd.local.lock import BASE, INSTALLER, LOCK, UV, locked
from tfsd.local.progress import Progress
from tfsd.start.pip_errors import explained

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
LOG = ENVIRONMENT / "pip.log"
LOCKED = ENVIRONMENT / "requirements.txt"
VERBS = ("serve", "replay", "warmup", "tune", "sagemaker", "test", "check", "docs", "ctl", "bench", "exec")
EVERYTHING = ["embedded", "nginx", "test", "tune"]
NEEDED_EXTRAS = {
    "replay": [],
    "warmup": ["embedded"],
    "test": EVERYTHING,
    "check": EVERYTHING,
    "bench": EVERYTHING,
    "docs": ["docs"],
}
VERBS_EXTRAS = {"sagemaker": "sagemaker-local", "tune": "tune"}  # on top of what serving needs


class SetUpError(Exception):
    """The environment cannot be made; the text says what to do."""


def main(arguments: Sequence[str]) -> int:
    """Set up, then become the verb's process. Returns the exit status when that cannot be."""
    verb = next((word for word in arguments if word in VERBS), None)
    if verb is None:
        print(f"bin/local: no such verb: {arguments[0]}; the verbs are {', '.join(VERBS)}.", file=sys.stderr)
        return 2
    try:
        set_up(extras_for(verb))
    except SetUpError as error:
        print(f"bin/local: {sentence(error)}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"bin/local: {sentence(os_problem(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    os.environ["PATH"] = f"{ENVIRONMENT / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    os.execv(PYTHON, [str(PYTHON), "-m", "tfsd.local", *arguments])


def extras_for(verb: str) -> list[str]:
    """What has to be installed for a verb, by the names in setup.py."""
    if verb in NEEDED_EXTRAS:
        return NEEDED_EXTRAS[verb]
    extras = [VERBS_EXTRAS[verb]] if verb in VERBS_EXTRAS else []
    if not (os.environ.get("SAGEMAKER_TFS_BINARY") or shutil.which("tensorflow_model_server")):
        extras.append("embedded")
    if not has_nginx_with_njs():
        extras.append("nginx")
    return extras


def has_nginx_with_njs() -> bool:
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    return bool(binary) and Path("/usr/lib/nginx/modules/ngx_http_js_module.so").is_file()


def set_up(extras: Sequence[str]) -> None:
    """Make the environment and install what is missing. Does nothing, without network, when all is there.

    Raises SetUpError, OSError.
    """
    missing = [extra for extra in ["", *extras] if not is_installed(extra)]
    if not missing:
        return
    if not has_pip():
        with Progress("making a virtual environment in .venv") as progress:
            shutil.rmtree(ENVIRONMENT, ignore_errors=True)  # what was interrupted while it was made
            make_environment(progress)
    names = ",".join(extra for extra in missing if extra)
    title = f"installing {names or 'tfsd'}{' (TensorFlow is large)' if 'embedded' in missing else ''}"
    with Progress(title) as progress:
        install_locked(progress, [INSTALLER], bar="off")  # an old pip that is about to be replaced has no raw
        if not installed_by_uv(progress, [BASE, *extras]):
            install_locked(progress, [BASE, *extras])
        if "" in missing:  # not again: a stack that is running would miss the package for a moment
            pip(progress, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    for extra in missing:
        stamp(extra).write_text(digest())


def stamp(extra: str) -> Path:
    return ENVIRONMENT / f".installed-{extra or 'tfsd'}"


def digest() -> str:
    """What an installation depends on: when it changes, pip is asked again."""
    text = (ROOT / "setup.py").read_bytes() + LOCK.read_bytes() + str(ROOT).encode()
    return hashlib.sha256(text).hexdigest()


def is_installed(extra: str) -> bool:
    return PYTHON.exists() and stamp(extra).is_file() and stamp(extra).read_text() == digest()


def has_pip() -> bool:
    """Whether there is an environment that pip runs in; one whose making was interrupted has none."""
    command = [str(PYTHON), "-m", "pip", "--version"]
    return PYTHON.exists() and subprocess.run(command, capture_output=True).returncode == 0


def make_environment(progress: Progress) -> None:
    """`python3 -m venv`, with the help of Debian's python3-venv or of a pip outside it where ensurepip is missing."""
    if run([sys.executable, "-m", "venv", str(ENVIRONMENT)], progress) == 0:
        return
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    if os.geteuid() == 0 and shutil.which("apt-get"):
        progress.show("apt-get install python3-venv")
        run(["apt-get", "update", "-q"], progress)
        run(["apt-get", "install", "-q", "-y", "--no-install-recommends", "python3-venv"], progress)
        if run([sys.executable, "-m", "venv", str(ENVIRONMENT)], progress) == 0:
            return
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    bare = run([sys.executable, "-m", "venv", "--without-pip", str(ENVIRONMENT)], progress)
    outside = [sys.executable, "-m", "pip", "--python", str(PYTHON), "install", "pip"]
    if bare == 0 and run(outside, progress) == 0:
        return
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    raise SetUpError(
        explained(progress.lines) or f"{sys.executable} -m venv fails; install python3-venv and try again."
    )


def install_locked(progress: Progress, extras: Sequence[str], bar: str = "raw") -> None:
    """Install what the lock has for these extras; pip checks each file's hash. Raises SetUpError, OSError."""
    pip(progress, *locked_requirements(extras), bar=bar)


def locked_requirements(extras: Sequence[str]) -> list[str]:
    """The arguments of `pip install`, or of uv's, for what the lock has for these extras. Raises OSError."""
    LOCKED.write_text(locked(LOCK.read_text(), extras))
    return ["--require-hashes", "--no-deps", "--requirement", str(LOCKED)]


def installed_by_uv(progress: Progress, extras: Sequence[str]) -> bool:
    """Whether uv has installed what the lock has for these extras. Why not, pip will say, if it cannot either.

    Raises OSError.
    """
    before = len(progress.lines)
    try:
        install_locked(progress, [UV], bar="off")
        command = uv.command(PYTHON, PYTHON)
        compiling = ["--compile-bytecode"] if sys.dont_write_bytecode else []
        if command is not None and run([*command, *compiling, *locked_requirements(extras)], progress) == 0:
            return True
    except SetUpError:  # the package index has no uv, perhaps
        pass
    del progress.lines[before:]
    return False


def pip(progress: Progress, *arguments: str, bar: str = "raw") -> None:
    """`pip install`. Raises SetUpError.

    Most of what is installed is never imported, and compiling it all takes half of the time: Python compiles a module
    at its first import, unless it has been told to keep nothing.
    """
    command = [str(PYTHON), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    compiling = [] if sys.dont_write_bytecode else ["--no-compile"]
    if run([*command, *compiling, "--progress-bar", bar, *arguments], progress) == 0:
        return
    told = explained(progress.lines) or "pip fails."
    try:
        LOG.write_text("\n".join(progress.lines) + "\n")
        told += f" All that pip says is in {os.path.relpath(LOG)}."
    except OSError:  # a full disk, perhaps
        pass
    raise SetUpError(told)


def run(command: list[str], progress: Progress) -> int:
    """Run a command, showing what it is at; its output is kept in `progress.lines`."""
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert child.stdout
    for line in child.stdout:
        progress.show(line.strip())
    return child.wait()
