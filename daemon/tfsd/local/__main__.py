"""The verbs of bin/local: serve a model directory on this machine, and test, debug and measure it.

Runs inside the environment that bin/local made. Never used in a container, whose entry point is `serve`. A verb that
speaks HTTP imports its module itself: to import `requests` takes longer than all that the other verbs need.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tfsd import machine
from tfsd.errors import StartError, os_problem, sentence
from tfsd.local.errors import LocalError
from tfsd.local.proxies import pass_by
from tfsd.run_dir import RunDir

ROOT = Path(__file__).resolve().parents[3]
DEFAULT_RUN_DIR = ROOT / ".run"
DEFAULT_SAGEMAKER_DATA = ROOT / ".sagemaker"
EXAMPLE = ROOT / "examples" / "digits"
CHECKS = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["lint-imports", "--no-logo"])
TEST_PROCESSES_PER_CPU = 3  # they wait for stacks most of the time
TEST_PROCESS_BYTES = 1 << 30  # with the stacks and browsers of its tests
BENCHMARKS = ROOT / "test" / "bench"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; its arguments may stand before it as well. Returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = next(word for word in words if word in VERBS)
    words.remove(verb)
    pass_by(os.environ)
    try:
        return VERBS[verb](words)
    except StartError as error:
        print(f"bin/local: {sentence(error)}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"bin/local: {sentence(os_problem(error))}", file=sys.stderr)
        return 1


def _serve(words: list[str]) -> int:
    from tfsd.local.first_request import Request
    from tfsd.local.stack import serve

    parser = argparse.ArgumentParser(prog="bin/local serve")
    parser.add_argument("model", nargs="?", type=Path, help="a model directory or a model.tar.gz")
    parser.add_argument("--port", type=int, help="port of the endpoint")
    parser.add_argument(
        "--run-dir", type=Path, default=DEFAULT_RUN_DIR, help="where the stack keeps its files"
    )
    parser.add_argument("--host", help="address to listen on, 0.0.0.0 for all (default: 127.0.0.1)")
    parser.add_argument("--verbose", action="store_true", help="show all that the stack prints")
    options = parser.parse_args(words)
    pass_by(os.environ, *filter(None, (options.host, os.environ.get("SAGEMAKER_TFS_BIND_ADDRESS"))))
    environ = dict(os.environ)
    if options.host is not None or not environ.get("SAGEMAKER_TFS_BIND_ADDRESS"):
        environ["SAGEMAKER_TFS_BIND_ADDRESS"] = options.host or "127.0.0.1"
    if options.port is not None:
        environ["SAGEMAKER_BIND_TO_PORT"] = str(options.port)
    run_dir, verbose = RunDir(options.run_dir.absolute()), options.verbose
    if options.model is None and not environ.get("SAGEMAKER_BASE_DIR"):
        request = Request("application/x-image", EXAMPLE / "sample.png")
        return serve(EXAMPLE, run_dir, environ, request, verbose=verbose)
    return serve(options.model, run_dir, environ, verbose=verbose)


def _replay(words: list[str]) -> int:
    from tfsd.local import replay

    return replay.main(words)


def _warmup(words: list[str]) -> int:
    from tfsd.local import warmup

    return warmup.main(words)


def _sagemaker(words: list[str]) -> int:
    """The server is another program: gevent has to patch it before it imports anything."""
    data = [] if any(word.startswith("--data") for word in words) else ["--data", str(DEFAULT_SAGEMAKER_DATA)]
    os.execv(sys.executable, [sys.executable, "-m", "tfsd.sagemaker", *data, *words])


def _tune(words: list[str]) -> int:
    """Another program: what it computes and draws with is installed for this verb only."""
    os.execv(sys.executable, [sys.executable, "-m", "tfsd.tuner", *words])


def _test(words: list[str]) -> int:
    """All tests, or those that the arguments name, as many at a time as this machine can run."""
    command = [sys.executable, "-m", "pytest"]
    if not any(word.startswith(("-n", "--numprocesses")) for word in words):
        processes = min(
            TEST_PROCESSES_PER_CPU * machine.available_cpus(), machine.memory_bytes() // TEST_PROCESS_BYTES
        )
        command.append(f"--numprocesses={max(1, processes)}")
    return subprocess.call([*command, *words], cwd=ROOT)


def _check(words: list[str]) -> int:
    """The checks that need no process: each is run, so that one look shows all that is wrong."""
    if words:
        raise LocalError("check takes no arguments")
    statuses = [
        subprocess.call([str(Path(sys.executable).parent / check[0]), *check[1:]], cwd=ROOT)
        for check in CHECKS
    ]
    return max(statuses)


def _docs(words: list[str]) -> int:
    """Build the documentation into site/, or serve it while it is being written."""
    verb = words or ["build", "--strict", "--quiet"]
    environ = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.call([sys.executable, "-m", "mkdocs", *verb], cwd=ROOT, env=environ)


def _ctl(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bin/local ctl", add_help=False)
    parser.add_argument("--run-dir", type=Path, default=DEFAULT_RUN_DIR)
    options, command = parser.parse_known_args(words)
    configuration = RunDir(options.run_dir.absolute()).supervisord_conf
    if not configuration.is_file():
        raise LocalError(f"there is no stack in {options.run_dir}; start one with bin/local serve")
    supervisorctl = [sys.executable, "-m", "supervisor.supervisorctl"]
    return subprocess.call([*supervisorctl, "-c", str(configuration), *command])


def _bench(words: list[str]) -> int:
    names = [word for word in words if word in _benchmarks()] or _benchmarks()
    rest = [word for word in words if word not in names]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "test")}  # for what the tests share
    for name in names:
        script = BENCHMARKS / f"{name}.py"
        status = subprocess.call([sys.executable, str(script), *rest], cwd=ROOT, env=environ)
        if status:
            return status
    return 0


def _benchmarks() -> list[str]:
    return sorted(path.stem for path in BENCHMARKS.glob("*.py"))


def _exec(words: list[str]) -> int:
    if not words:
        raise LocalError("exec needs a command")
    try:
        os.execvp(words[0], words)
    except OSError as error:
        raise LocalError(f"cannot run {words[0]}: {error.strerror}") from error


VERBS: dict[str, Callable[[list[str]], int]] = {
    "serve": _serve,
    "replay": _replay,
    "warmup": _warmup,
    "tune": _tune,
    "sagemaker": _sagemaker,
    "test": _test,
    "check": _check,
    "docs": _docs,
    "ctl": _ctl,
    "bench": _bench,
    "exec": _exec,
}

if __name__ == "__main__":
    sys.exit(main())
