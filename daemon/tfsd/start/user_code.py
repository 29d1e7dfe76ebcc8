"""Making user code ready to run: its requirements installed, its script checked in a process of its own.

`python -m tfsd.start.user_code --source DIR --environment DIR` does it for control, whose own process must not wait,
for code with requirements: it prints what a worker pool needs to know as JSON, `{"python": …}`, or
`{"error": …, "no_room": …}` with exit status 1.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfsd import logs
from tfsd.errors import NO_SPACE, StartError, os_problem
from tfsd.model_directory import Code, ModelError, UserCode, find_user_code
from tfsd.settings import Settings
from tfsd.start import environments
from tfsd.start.environments import KILLED, NoRoomError, RequirementsError

log = logging.getLogger(__name__)


class ScriptError(StartError):
    """The user's script cannot be served; the text, one line, is the checker's own."""


def prepare(code: UserCode, environment: Path, working_dir: Path) -> Code:
    """Install the code's requirements, if it has any, into the virtual environment `environment`, and check it.

    `working_dir` is where its workers will run. Raises RequirementsError, NoRoomError, ScriptError, OSError.
    """
    python = environments.prepare(environment, code.requirements) if code.requirements else sys.executable
    checked = subprocess.run(
        check_command(python, code, working_dir),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=working_dir,
    )
    judge(code, checked.returncode, checked.stdout, checked.stderr)
    return Code(code, python)


def check_command(python: str, code: UserCode, working_dir: Path) -> list[str]:
    """What checks the code's script when it runs in `working_dir`, the run directory; `judge` is told what it says."""
    command = [
        python,
        "-m",
        "tfsd.worker",
        "--check",
        "--run-dir",
        str(working_dir),
        "--script",
        str(code.script),
    ]
    for entry in code.python_path:
        command += ["--python-path", entry]
    return command


def judge(code: UserCode, status: int, stdout: bytes, stderr: bytes) -> None:
    """Return when the check that ended so has found nothing against the script. Raises NoRoomError, ScriptError."""
    said = stderr.decode(errors="replace").splitlines()
    for line in said:
        log.info("%s: %s", code.script.name, line)
    verdict = _verdict(stdout)
    if "style" in verdict and status == 0:
        return
    for line in verdict.get("details", ()):
        log.info("%s: %s", code.script.name, line)
    if status == -signal.SIGKILL:
        raise NoRoomError(f"the check of {code.script} {KILLED}")
    raise ScriptError(verdict.get("error") or _died(code, status, said))


def _verdict(stdout: bytes) -> dict[str, Any]:
    """What the check says; empty when it did not come so far."""
    try:
        found = json.loads(stdout)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _died(code: UserCode, status: int, said: Sequence[str]) -> str:
    """One line about a check that ended without a verdict: user code crashed, or what is installed keeps ours out."""
    ended = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    last = next((line.strip() for line in reversed(said) if line.strip()), "")
    return f"the check of {code.script} {ended}{f'; the last it said is: {last}' if last else ''}"


def of_one_model(directory: Path, settings: Settings) -> UserCode | None:
    """The code in a model's own `code/` directory, which SAGEMAKER_SUBMIT_DIRECTORY does not mean.

    None when it has no script. Raises ModelError.
    """
    return find_user_code(directory, dataclasses.replace(settings, submit_directory=None))


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the code of one model ready; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tfsd.start.user_code", description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="the model's code directory")
    parser.add_argument("--environment", type=Path, required=True, help="where its environment may be made")
    options = parser.parse_args(arguments)
    settings = Settings.from_environ(os.environ)
    logs.setup("control", settings.log_level, form=settings.log_format)
    try:
        found = of_one_model(options.source, settings)
        if found is None:
            raise ModelError(f"{options.source} has no {settings.program}")
        code = prepare(found, options.environment, Path.cwd())
    except (ModelError, RequirementsError, NoRoomError, ScriptError) as error:
        print(json.dumps({"error": str(error), "no_room": isinstance(error, NoRoomError)}))
        return 1
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        print(json.dumps({"error": f"preparing {options.source}: {os_problem(error)}", "no_room": True}))
        return 1
    print(json.dumps({"python": code.python}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
