"""`bin/local tune`: reads the command line, tunes, and writes the report."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tfsd.errors import StartError, os_problem, sentence
from tfsd.local.model_argument import base_dir
from tfsd.run_dir import RunDir
from tfsd.settings import Settings, SettingsError
from tfsd.stack.model_server_flags import find_command, is_embedded
from tfsd.tuner import bodies, report
from tfsd.tuner.goal import Goal
from tfsd.tuner.progress import Progress
from tfsd.tuner.tuning import Tuning

TIME = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)?")
UNITS = {"s": 1, "m": 60, "h": 3600, None: 1}
SHORTEST_SECONDS = 20.0
INTERRUPTED = 130


def main(words: Sequence[str]) -> int:
    """The verb. Returns the exit status: 0, or 130 when it was interrupted. Raises StartError, OSError."""
    options = _parser().parse_args(words)
    given = bodies.from_file(options.requests, options.content_type) if options.requests else None
    options.output.mkdir(parents=True, exist_ok=True)  # whether it can be is not to be learnt at the end
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="tfsd-tune-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        model_base = base_dir(options.model, RunDir(directory / "model"))
        environ = {**os.environ, "SAGEMAKER_BASE_DIR": str(model_base)}
        try:
            settings = Settings.from_environ(environ)
        except SettingsError as error:
            raise StartError("; ".join(error.problems)) from error
        if settings.multi_model:
            raise StartError("SAGEMAKER_MULTI_MODEL=true cannot be tuned: give one model")
        server = "embedded" if is_embedded(find_command(settings, environ)) else "tensorflow_model_server"
        with Progress(options.time) as progress:
            tuning = Tuning(
                model_base, directory, environ, settings, given, options.goal, progress, options.time
            )
            findings = tuning.run()
    repeat = " ".join(shlex.quote(word) for word in ("bin/local", "tune", *words))
    written = report.document(findings, str(options.model), repeat, server)
    print(report.terminal(written), flush=True)
    paths = report.write(options.output, findings, written)
    if findings.ended:
        print(f"bin/local: The tuning ended before it was done: {sentence(findings.ended)}", file=sys.stderr)
    print(f"\nbin/local: the report is in {paths[0]} and {paths[1]}.", file=sys.stderr)
    return INTERRUPTED if findings.ended == "it was interrupted" else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bin/local tune",
        description="Finds the settings with which this machine serves most requests of a model under a goal for their "
        "latency, and says what they are worth. SAGEMAKER_* variables that are set are the default to compare with.",
    )
    parser.add_argument("model", type=Path, help="a model directory or a model.tar.gz")
    parser.add_argument(
        "--requests",
        type=Path,
        help="a capture, a file with a request in each line (.jsonl, .csv), or one body "
        "(default: made from the signature)",
    )
    parser.add_argument("--content-type", help="of the requests in a file (default: by the file's name)")
    parser.add_argument(
        "--goal", type=_goal, help="such as 'p99 <= 50 ms' (default: ten times the latency when idle)"
    )
    parser.add_argument("--time", type=_time, default=600.0, help="90s, 10m, 1h (default: 10m)")
    parser.add_argument(
        "--output", type=Path, default=Path("tune-report"), help="a directory (default: %(default)s)"
    )
    return parser


def _goal(text: str) -> Goal:
    try:
        return Goal.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _time(text: str) -> float:
    """Seconds of `90s`, `10m`, `1h` or a bare number of seconds."""
    found = TIME.fullmatch(text.strip())
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    if seconds < SHORTEST_SECONDS:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no time of {SHORTEST_SECONDS:g} s or more, such as 10m"
        )
    return seconds


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
    except StartError as error:
        print(f"bin/local: {sentence(error)}", file=sys.stderr)
        status = 1
    except OSError as error:
        print(f"bin/local: {sentence(os_problem(error))}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = INTERRUPTED
    sys.exit(status)
