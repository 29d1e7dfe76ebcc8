"""`python -m tfsd.model_server`: parses the command line, starts the server and stops it on SIGTERM.

Owns exit codes and signals. Imports TensorFlow only once nothing else can go wrong.
"""

from __future__ import annotations

import gc
import importlib.metadata
import logging
import os
import signal
import sys
import threading
import time
from types import FrameType, ModuleType

from tfsd.model_server import flags
from tfsd.model_server.errors import Code, ServingError

log = logging.getLogger("tfsd.model_server")

INTERFACE_VERSION = "2.20.0"  # of tensorflow_model_server, whose interface this server has
FAILED = 255


def main(arguments: list[str]) -> int:
    """Run the server until it is told to stop; returns the exit code."""
    program = "python -m tfsd.model_server"
    try:
        options = flags.parse(arguments)
    except flags.FlagError as error:
        print(f"{error}\n" if str(error) else "", flags.usage(program), sep="", end="", flush=True)
        return FAILED
    if options.version:
        print(
            f"TensorFlow ModelServer: {INTERFACE_VERSION}\nTensorFlow Library: {library_version()}",
            flush=True,
        )
        return 0
    if options.unknown is not None:
        print(f"unknown argument: {options.unknown}\n{flags.usage(program)}", end="", flush=True)
    logging.basicConfig(
        format="%(asctime)s %(levelname).1s %(message)s", level=logging.INFO, stream=sys.stderr
    )
    try:
        return serve(options)
    except ServingError as error:
        print(f"Failed to start server. Error: {error}", flush=True)
        return FAILED


def serve(options: flags.Options) -> int:
    """Start, wait for SIGTERM, drain.

    Raises ServingError: the server cannot start.
    """
    from tfsd.model_server import startup

    plan = startup.prepare(options)
    if options.without_effect():
        log.warning("Flags without effect in this server: %s", ", ".join(options.without_effect()))
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Nothing can be in flight while TensorFlow loads, and a handler would have to wait for it.
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    server_module = load_server_module()
    signal.signal(signal.SIGTERM, stop)
    server = server_module.Server(plan, stopping)
    try:
        server.start()
    except ServingError as error:
        if error.code is Code.CANCELLED and stopping.is_set():
            return 0
        raise
    stopping.wait()
    log.info("SIGTERM: finishing the requests in flight")
    server.stop()
    log.info("Stopped")
    return 0


def load_server_module() -> ModuleType:
    """Import the server and with it TensorFlow, which takes seconds: the log says so."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    log.info("Loading TensorFlow %s ...", library_version())
    started = time.monotonic()
    gc.disable()  # an import makes objects that stay: looking for garbage is a sixth of its CPU time
    from tfsd.model_server import server

    gc.freeze()  # hundreds of thousands of objects, which no later collection needs to visit either
    gc.enable()
    log.info("TensorFlow is loaded after %.1f s", time.monotonic() - started)
    return server


def library_version() -> str:
    """The version of the TensorFlow that is installed, without importing it."""
    for package in ("tensorflow", "tensorflow-cpu"):
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


if __name__ == "__main__":
    code = main(sys.argv[1:])
    logging.shutdown()
    sys.stdout.flush()
    # TensorFlow's and gRPC's threads need not be waited for: all requests are answered by now.
    os._exit(code)
