"""A docker client whose engine runs stub_container.py for every image: `fake_docker.py DIRECTORY COMMAND…`.

It knows `info`, `run`, `stop` and `rm` with the options that local SageMaker gives. DIRECTORY is the engine's: in it
NAME.json has the options of a run and the process of its container, NAME.root what that sees below /opt/ml. An image
named `missing` is not there; where DIRECTORY is not there, no engine runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def main(directory: Path, words: list[str]) -> int:
    if not directory.is_dir():
        print("Cannot connect to the Docker daemon.", file=sys.stderr)
        return 1
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("info").add_argument("--format")
    run = verbs.add_parser("run")
    run.add_argument("--rm", action="store_true", required=True)
    for option in ("--name", "--publish"):
        run.add_argument(option, required=True)
    for option in ("--volume", "--env"):
        run.add_argument(option, action="append", default=[])
    run.add_argument("image")
    run.add_argument("command")
    stop = verbs.add_parser("stop")
    stop.add_argument("--time", type=int)
    stop.add_argument("name")
    remove = verbs.add_parser("rm")
    remove.add_argument("--force", action="store_true")
    remove.add_argument("name")
    options = parser.parse_args(words)
    if options.verb == "info":
        return 0
    return _run(directory, options) if options.verb == "run" else _end(directory, options)


def _run(directory: Path, options: argparse.Namespace) -> int:
    if options.image == "missing":
        print("docker: Error response from daemon: pull access denied for missing.", file=sys.stderr)
        return 125
    root = directory / f"{options.name}.root"
    for volume in options.volume:
        outside, inside, mode = volume.split(":")
        assert mode == "ro"
        place = root / inside.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(outside)
    address, port, _ = options.publish.split(":")
    assert address == "127.0.0.1"
    environ = dict(variable.split("=", 1) for variable in options.env)
    container = subprocess.Popen(
        [sys.executable, "-S", HERE / "stub_container.py"],
        env={**environ, "SAGEMAKER_BIND_TO_PORT": port, "STUB_ROOT": str(root)},
        start_new_session=True,  # the engine's child, not the client's
    )
    signal.signal(signal.SIGTERM, lambda *_: container.terminate())  # as docker does
    (directory / f"{options.name}.json").write_text(json.dumps({**vars(options), "pid": container.pid}))
    return container.wait()


def _end(directory: Path, options: argparse.Namespace) -> int:
    path = directory / f"{options.name}.json"
    if not path.exists():
        print(f"Error response from daemon: No such container: {options.name}", file=sys.stderr)
        return 1
    pid = json.loads(path.read_text())["pid"]
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM if options.verb == "stop" else signal.SIGKILL)
    while options.verb == "stop" and path.exists() and Path(f"/proc/{pid}").exists():
        time.sleep(0.01)
    if options.verb == "rm":
        path.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
