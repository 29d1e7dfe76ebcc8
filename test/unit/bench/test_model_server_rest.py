"""The load on a model server where wrk is not installed."""

from __future__ import annotations

import http.server
import itertools
import shutil
import threading
from collections.abc import Iterator

import pytest

from bench import model_server_rest


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    statuses = itertools.cycle([200, 200, 500])

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(next(self.statuses))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *message: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    """One of three of its answers is an error."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_without_wrk_threads_are_the_clients(
    server: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    answers, errors = model_server_rest.load(server.server_port, 0.5, clients=2)
    assert answers
    assert errors == answers // 3
