"""What must hold whatever is sent: the fuzzer's verdicts.

Owns the rules: no status of 500 or above but a justified 503 or 504 (507 for a load), an error is JSON, an answer
comes within the time limit, no process ends, and no request makes the stack grow beyond what it sent.
"""

from __future__ import annotations

import http.client
import json
import select
import socket

import psutil

JUSTIFIED = (503, 504, 507)
HALF_CLOSE_SECONDS = 2.0
ALLOWED_BYTES = 50 << 20
ALLOWED_FACTOR = 20


class Broken(AssertionError):
    """Something that must hold does not; the text has the input."""


def send(port: int, data: bytes, seconds: float) -> tuple[int, str, bytes] | None:
    """(status, content type, body) of the answer; None when the connection was closed without one.

    Raises Broken when nothing comes within `seconds`.
    """
    with socket.create_connection(("127.0.0.1", port), seconds) as connection:
        try:
            connection.sendall(data)
            if not select.select([connection], [], [], HALF_CLOSE_SECONDS)[0]:
                connection.shutdown(socket.SHUT_WR)  # it waits for more; sooner, nginx gives up
        except OSError:
            pass  # it was refused before its end; the answer is there all the same
        response = http.client.HTTPResponse(connection, method=data[:4].decode("latin-1").strip())
        try:
            response.begin()
            return response.status, response.headers.get("Content-Type", ""), response.read()
        except TimeoutError:
            raise Broken(f"no answer within {seconds:g} s to {shown(data)}") from None
        except (OSError, http.client.HTTPException):
            return None


def judge(data: bytes, answer: tuple[int, str, bytes] | None) -> None:
    """Raises Broken for an answer that must not be."""
    if answer is None:
        return  # nginx closes what is no HTTP, and what was cut off
    status, content_type, body = answer
    if status >= 500 and status not in JUSTIFIED and not (status in (501, 505) and is_json(body)):
        raise Broken(f"{status} {body[:300]!r} for {shown(data)}")
    if (
        status >= 400
        and not data.startswith(b"HEAD")
        and not (content_type == "application/json" and is_json(body))
    ):
        raise Broken(f"{status} is not JSON: {content_type} {body[:300]!r} for {shown(data)}")


def is_json(body: bytes) -> bool:
    try:
        return "error" in json.loads(body)
    except ValueError:
        return False


def shown(data: bytes) -> str:
    return repr(data if len(data) < 1500 else data[:1000] + b" ... " + data[-300:])


class Processes:
    """The stack's processes: which there are, and the memory that they take together."""

    def __init__(self, root: int) -> None:
        self._root = psutil.Process(root)
        self.pids = self._pids()
        self._resident = self.resident()

    def _pids(self) -> frozenset[int]:
        return frozenset(process.pid for process in self._root.children(recursive=True))

    def resident(self) -> int:
        total = 0
        for process in self._root.children(recursive=True):
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue
        return total

    def check(self, sent: int) -> None:
        """Raises Broken when a process ended, or when the stack grew by more than `sent` bytes may cost."""
        if gone := self.pids - self._pids():
            raise Broken(f"processes ended: {sorted(gone)}")
        grown = self.resident() - self._resident
        if grown > ALLOWED_FACTOR * sent + ALLOWED_BYTES:
            raise Broken(f"the stack grew by {grown >> 20} MB after {sent} bytes")
        self._resident = max(self._resident, self._resident + grown)
