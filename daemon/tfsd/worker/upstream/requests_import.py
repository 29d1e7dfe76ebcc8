"""Has a handler's own `requests` reach model servers through their pools (`requests_patch`), if it imports it at all.

`requests` and what it needs take a fifth of the time in which a worker starts.
"""

from __future__ import annotations

from tfsd.worker.upstream.client import ModelServers
from tfsd.worker.upstream.imports import when_imported


def install(servers: ModelServers, limit: float) -> None:
    """Patch `requests` now if it is imported already, else when it is; the arguments are `requests_patch.install`'s."""

    def patch() -> None:
        from tfsd.worker.upstream import requests_patch

        requests_patch.install(servers, limit)

    when_imported("requests", patch)
