"""The check of a script before it is served, in the worker's own environment. Where user code brings anything that
workers are made of, all of a worker is imported before the script, as in a worker, and what it builds is built.

The verdict is one JSON document on stdout: `{"style": …}`, or `{"error": …, "details": [lines]}` and exit status 1.
Whatever the script itself prints goes to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfsd.protos import packages
from tfsd.worker import script
from tfsd.worker.script import in_script
from tfsd.worker.upstream import grpc_gevent

if TYPE_CHECKING:
    from tfsd.settings import Settings
    from tfsd.worker.upstream.client import ModelServers

MAX_DETAILS = 12  # lines of a traceback; its end says what is wrong
NAME = re.compile(r"[A-Za-z0-9._-]+")
#: What gRPC and `requests` are made of, which a worker imports when its user code does.
LATER = ("grpc", "google.protobuf", "requests", "urllib3", "charset_normalizer", "idna", "certifi")
#: What a worker is made of besides Python itself.
NEEDED = (*LATER, "bottle", "gevent", "greenlet", "httptools", "msgspec", "numpy", "zope.interface")
#: The modules that a worker has imported before its user code: those of the same name there are not looked at.
TAKEN = sys.stdlib_module_names | {name.partition(".")[0] for name in NEEDED}


def main(import_worker: Callable[[], object]) -> int:
    """Run the command line; does not return, since a thread that the script started would keep the process alive."""
    parser = argparse.ArgumentParser(prog="python -m tfsd.worker", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only import --script and print its style")
    parser.add_argument("--run-dir", help="of the stack that it is for, by which control knows the process")
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--python-path", action="append", default=[], help="may be given several times")
    options = parser.parse_args()
    status = check(options.script, options.python_path, import_worker)
    sys.stderr.flush()
    os._exit(status)


def check(path: Path, python_path: Sequence[str], import_worker: Callable[[], object]) -> int:
    """Check a script; returns the exit status. `import_worker` imports all that a worker is."""
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        verdict = _verdict(path, python_path, import_worker)
    finally:
        sys.stdout.flush()
        os.dup2(stdout, 1)
        os.close(stdout)
    print(json.dumps(verdict), flush=True)
    return 1 if "error" in verdict else 0


def _verdict(
    path: Path, python_path: Sequence[str], import_worker: Callable[[], object]
) -> dict[str, object]:
    if _takes_names(python_path) or any(map(_is_brought, NEEDED)):
        import_worker()
    sys.dont_write_bytecode = True  # nothing is written beside the user's modules
    packages.install(python_path)
    grpc_gevent.install()
    try:
        loaded = script.load(path, python_path)
    except script.ScriptError as error:
        return {"error": str(error)}
    except (Exception, SystemExit) as error:
        problem = f"{path.name} does not import: {_one_line(error)}{_where(error, path)}"
        return {"error": problem, "details": _details(error, path)}
    if not (_takes_names(python_path) or any(map(_is_brought, NEEDED))):
        return {"style": loaded.style}  # our own versions are known to do, and take half of a check
    try:
        _build(loaded)
    except (Exception, SystemExit) as error:
        brought = ", ".join(_brought())
        cause = f"brings {brought}" if brought else "is not what the worker needs"
        problem = (
            f"what is installed for {path} {cause}, and the worker does not start with it: {_one_line(error)}"
        )
        return {"error": problem, "details": _details(error, path)}
    return {"style": loaded.style}


def _build(loaded: script.Script) -> None:
    """All that a worker has, but for models to reach and a socket to serve."""
    from tfsd.plan import Plan
    from tfsd.settings import Settings
    from tfsd.worker.app import Application, Invocations
    from tfsd.worker.modes import mode_of
    from tfsd.worker.targets import Targets
    from tfsd.worker.upstream.client import ModelServers

    settings = Settings.from_environ(os.environ)
    servers, plan = ModelServers({}), Plan({}, {})
    mode = mode_of(loaded, settings)
    Application(Invocations(Targets(plan, "", servers), mode, settings.request_timeout), settings.multi_model)
    if any(map(_is_brought, LATER)):
        _build_what_is_imported_later(servers, settings)


def _takes_names(python_path: Sequence[str]) -> bool:
    """Whether user code has a module named like one of Python's own, such as `queue.py`, or of ours."""
    for entry in python_path:
        with contextlib.suppress(OSError):
            if any(name.partition(".")[0] in TAKEN for name in os.listdir(entry)):
                return True
    return False


def _is_brought(name: str) -> bool:
    """Whether user code gets a package from elsewhere than this interpreter's own environment."""
    spec = importlib.util.find_spec(name)
    origin = spec.origin if spec else None
    return origin is None or not Path(origin).is_relative_to(sysconfig.get_path("purelib"))


def _build_what_is_imported_later(servers: ModelServers, settings: Settings) -> None:
    """What a worker has once user code imports it, which takes a quarter of a check."""
    import grpc

    from tfsd.worker.upstream import requests_patch

    requests_patch.install(servers, settings.request_timeout)
    grpc.insecure_channel("unix:/dev/null").close()


def _brought() -> Iterator[str]:
    """Our own dependencies that somebody has put another version before: `protobuf 4.25.8 in place of 7.36.2`."""
    import importlib.metadata  # a tenth of what a check takes

    for requirement in importlib.metadata.requires("tfsd") or ():
        found = NAME.match(requirement)
        versions = [dist.version for dist in importlib.metadata.distributions(name=found[0])] if found else []
        if found and len(set(versions)) > 1:
            yield f"{found[0]} {versions[0]} in place of {versions[-1]}"


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _where(error: BaseException, path: Path) -> str:
    """The line of the script that the exception came through; a SyntaxError names its own."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    return f" ({path.name}, line {lines[-1]})" if lines else ""


def _details(error: BaseException, path: Path) -> list[str]:
    return "".join(traceback.format_exception(*in_script(error, path))).splitlines()[-MAX_DETAILS:]
