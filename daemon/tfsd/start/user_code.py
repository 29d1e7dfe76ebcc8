"""Making user code ready to run: its requirements installed, its script checked in a process of its own.

`python -m tfsd.start.user_code --source DIR --environment DIR` does it for control, whose own process must not wait:
it prints what a worker pool needs to know as JSON, `{"python": …}`, or `{"error": …}` with exit status 1.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tfsd import logs
from tfsd.errors import StartError
from tfsd.model_directory import Code, ModelError, UserCode, find_user_code
from tfsd.settings import Settings
from tfsd.start import environments
from tfsd.start.environments import RequirementsError


class ScriptError(StartError):
    """The user's script cannot be served; the text is the checker's own."""


def prepare(code: UserCode, environment: Path, working_dir: Path) -> Code:
    """Install the code's requirements, if it has any, into the virtual environment `environment`, and check it.

    `working_dir` is where its workers will run. Raises RequirementsError, ScriptError.
    """
    python = environments.prepare(environment, code.requirements) if code.requirements else sys.executable
    command = [python, "-m", "tfsd.worker", "--check", "--script", str(code.script)]
    for entry in code.python_path:
        command += ["--python-path", entry]
    checked = subprocess.run(command, capture_output=True, text=True, cwd=working_dir)
    if checked.returncode:
        raise ScriptError(checked.stderr.strip() or f"{code.script} ended with status {checked.returncode}")
    return Code(code, python)


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
    logs.setup("control", settings.log_level)
    try:
        found = of_one_model(options.source, settings)
        if found is None:
            raise ModelError(f"{options.source} has no {settings.program}")
        code = prepare(found, options.environment, Path.cwd())
    except (ModelError, RequirementsError, ScriptError) as error:
        print(json.dumps({"error": str(error)}))
        return 1
    print(json.dumps({"python": code.python}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
