"""What the REST and the gRPC server do alike with sockets: how they listen, accept and how much they read at a time."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator

log = logging.getLogger(__name__)

#: Bytes that are read first, and while so many come. Memory for the latter is dearer than a small request.
FIRST_READ, READ_SIZE = 60 * 1024, 256 * 1024
BACKLOG = 1024
_PAUSE_SECONDS = 0.02


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 picks a free one. The host `::` is all addresses, IPv6 and IPv4.

    Raises OSError: the port is taken, or the host is no address of this machine.
    """
    if host == "::" and not socket.has_dualstack_ipv6():
        host = ""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=host == "::")
    listener.setblocking(False)
    # Accepted sockets inherit it; without it an answer in two packets waits for the client's delayed ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def accept_all(listener: socket.socket) -> Iterator[socket.socket]:
    """The connections that wait to be accepted; they do not block. One more than may be open is told in the log."""
    while True:
        try:
            accepted, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if listener.fileno() >= 0:  # else it was closed meanwhile
                log.error("Cannot accept connections: %s. Raise the limit of open files.", error)
                time.sleep(_PAUSE_SECONDS)
            return
        accepted.setblocking(False)
        yield accepted
