"""Makes gRPC wait in gevent's way as soon as, and only if, something in this process imports it.

gRPC must be told before its first channel (`grpc.experimental.gevent`); otherwise a call blocks the whole worker.
User code makes channels of its own whenever it likes, so the import itself is the moment.
"""

from __future__ import annotations

import os

from tfsd.worker.upstream.imports import when_imported


def install() -> None:
    """Prepare gRPC now if it is imported already, else when it is."""
    # Its handlers at fork() do nothing under gevent but log a line for each process that user code starts.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    when_imported("grpc", _prepare)


def _prepare() -> None:
    from grpc.experimental.gevent import init_gevent

    init_gevent()
