"""What a worker tells control of the errors that it answers: the status page shows them.

Owns the datagrams. A worker never waits for control: what cannot be sent at once is lost.
"""

from __future__ import annotations

import json
import socket

from tfsd.run_dir import RunDir
from tfsd.worker.replies import Reply

MAX_TEXT = 2000


class ErrorReports:
    """Sends to control's socket in the run directory, where there is one."""

    def __init__(self, run_dir: RunDir) -> None:
        self._path = str(run_dir.errors_socket)
        self._socket: socket.socket | None = None

    def send(self, request_id: str, reply: Reply) -> None:
        """Report an error that is about to be answered."""
        if not request_id or not isinstance(reply.body, bytes):
            return
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        text = _text(reply.body)[:MAX_TEXT]
        try:
            self._socket.sendto(json.dumps({"id": request_id, "text": text}).encode(), self._path)
        except OSError:
            return  # no page, or control has no time


def _text(body: bytes) -> str:
    """The message of `{"error": …}`; the beginning of anything else."""
    try:
        document = json.loads(body)
        return str(document["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return body[: 4 * MAX_TEXT].decode("utf-8", "replace")
