"""The program: its arguments, what it prints for the user's shell, its start and its end."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import gevent
from gevent import pywsgi
from gevent.event import Event

from tfsd import logs
from tfsd.sagemaker.emulator import Emulator
from tfsd.sagemaker.instances.docker import Docker
from tfsd.sagemaker.server import DEFAULT_REGION, Application, Handler
from tfsd.sagemaker.state import ACCOUNT
from tfsd.sagemaker.transform.progress import Display

DEFAULT_PORT = 4566
SDK_CONFIG = "sagemaker-config.yaml"

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGINT or SIGTERM. Returns the exit status."""
    options = _parser().parse_args(arguments)
    display = Display(sys.stderr)
    logs.setup("sagemaker", logging.INFO, display.stream)
    directory: Path = options.data.absolute()
    with contextlib.ExitStack() as stack:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_owned(directory))
        except BlockingIOError:
            print(
                f"bin/local sagemaker: {directory} is in use by another one; give another --data.",
                file=sys.stderr,
            )
            return 1
        except OSError as error:
            print(
                f"bin/local sagemaker: {directory} cannot be used: {error.strerror}; give another --data.",
                file=sys.stderr,
            )
            return 1
        return _serve(directory, options, display)


def _serve(directory: Path, options: argparse.Namespace, display: Display) -> int:
    port, region = options.port, options.region
    exports = _exports(port, region)
    os.environ.update(exports)  # moto signs nothing, but boto3 inside of it looks for credentials
    emulator = Emulator(directory, exports, display, docker=Docker(everything=options.docker))
    server = pywsgi.WSGIServer(
        ("127.0.0.1", port),
        Application(emulator, region),
        handler_class=Handler,
        log=None,
        error_log=logging.getLogger("http"),
    )
    try:
        server.start()
    except OSError as error:
        print(f"bin/local sagemaker: port {port}: {error.strerror}; give another --port.", file=sys.stderr)
        return 1
    stopped = Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        gevent.signal_handler(number, stopped.set)
    emulator.restore()
    _show(exports, directory)
    stopped.wait()
    print("bin/local sagemaker: stopping.", file=sys.stderr, flush=True)
    server.stop(timeout=1)
    emulator.stop()
    return 0


def _exports(port: int, region: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": f"http://localhost:{port}",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _show(exports: dict[str, str], directory: Path) -> None:
    """Print the exports, and write the SDKs' configuration: `default_bucket()` asks STS's real address otherwise."""
    bucket = f"sagemaker-{exports['AWS_DEFAULT_REGION']}-{ACCOUNT}"
    config = directory / SDK_CONFIG
    config.write_text(
        "SchemaVersion: '1.0'\n"
        "SageMaker:\n"
        "  PythonSDK:\n"
        "    Modules:\n"
        "      TelemetryOptOut: true\n"
        "      Session:\n"
        f"        DefaultS3Bucket: {bucket}\n"
    )
    settings = {**exports, "SAGEMAKER_USER_CONFIG_OVERRIDE": str(config)}
    words = " ".join(f"{name}={shlex.quote(value)}" for name, value in settings.items())
    print(f"\nexport {words}\n", flush=True)
    print(
        "bin/local sagemaker: ready; Ctrl-C stops it and its endpoints, which the next start brings back.",
        flush=True,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bin/local sagemaker", description="SageMaker on this machine.")
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, help="of the API (default: %(default)s)")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="where everything is kept, S3 included (default of bin/local: .sagemaker)",
    )
    parser.add_argument(
        "--region",
        default=os.environ.get("AWS_DEFAULT_REGION") or DEFAULT_REGION,
        help="of the printed exports (default: AWS_DEFAULT_REGION, else %(default)s)",
    )
    parser.add_argument(
        "--docker", action="store_true", help="run all images through Docker, TensorFlow Serving's too"
    )
    return parser


def _port(text: str) -> int:
    """Raises ValueError; argparse says what the argument was."""
    port = int(text)
    if port not in range(1, 65536):
        raise argparse.ArgumentTypeError(f"{port} is none: ports are 1 to 65535.")
    return port


@contextlib.contextmanager
def _owned(directory: Path) -> Iterator[None]:
    """Hold the directory's lock. Raises BlockingIOError when another server has it."""
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
