"""What the tests of control are made with: a model server stub that can fail, and a real supervisord."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DAEMON = Path(__file__).parents[2] / "daemon"


class ModelServerStub:
    """Answers GET /v1/models/NAME with `states` (version to state), or as told otherwise.

    `status` other than 200 answers that with an error, `hold` makes every request wait until it is cleared,
    `metrics` is the page of /monitoring/prometheus/metrics.
    """

    def __init__(self) -> None:
        self.states = {"1": "AVAILABLE"}
        self.error_message = ""
        self.status = 200
        self.metrics: str | None = None
        self.paths: list[str] = []
        self.released = threading.Event()
        self.released.set()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port: connections are refused from now on."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, path: str) -> tuple[int, str]:
        if path == "/monitoring/prometheus/metrics":
            return (200, self.metrics) if self.metrics is not None else (404, "not found")
        if self.status != 200:
            return self.status, json.dumps({"error": self.error_message})
        code = "UNKNOWN" if self.error_message else "OK"
        status = {"error_code": code, "error_message": self.error_message}
        versions = [{"version": v, "state": s, "status": status} for v, s in self.states.items()]
        return 200, json.dumps({"model_version_status": versions})

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stub.paths.append(self.path)
                stub.released.wait()
                status, body = stub._answer(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


class Supervisord:
    """A real supervisord in `run_dir`, with the given program sections."""

    def __init__(self, run_dir: Path, sections: str) -> None:
        self.run_dir = run_dir
        config = run_dir / "supervisord.conf"
        config.write_text(f"""
[supervisord]
nodaemon = true
logfile = {run_dir}/supervisord.log
pidfile = {run_dir}/supervisord.pid
childlogdir = {run_dir}
[unix_http_server]
file = {run_dir}/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
{sections}
""")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(DAEMON)},
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)


def eventually(condition: Callable[[], object], seconds: float = 20.0) -> Any:
    """Wait until `condition` is true and return what it returned; fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"still not true after {seconds} s"
        time.sleep(0.02)
    return result
