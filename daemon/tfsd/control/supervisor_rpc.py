"""One XML-RPC call to supervisord, over a unix socket. Imported when there is something to ask: a start has nothing."""

from __future__ import annotations

import http.client
import xmlrpc.client
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault

from tfsd.control.connections import UnixConnection

ERRORS = (OSError, http.client.HTTPException, xmlrpc.client.Error)
"""What a call may raise, besides Fault, which is one of them."""

__all__ = ["ERRORS", "Fault", "call"]


def call(socket_path: Path, timeout: float, method: str, *arguments: Any) -> Any:
    """What `supervisor.<method>` returns; `timeout` is in seconds. Raises Fault when it refuses, and ERRORS."""
    transport = _Transport(socket_path, timeout)
    with xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=transport) as proxy:
        return getattr(proxy.supervisor, method)(*arguments)


class _Transport(xmlrpc.client.Transport):
    """Like supervisor's own SupervisorTransport, with a timeout and without importing supervisor's server."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__()
        self._unix = UnixConnection(path, timeout)

    def make_connection(self, host: Any) -> UnixConnection:
        self._connection = host, self._unix
        return self._unix
