"""A container that keeps the hosting contract and has no model: it starts in no time and says what it was asked.

Its environment says how it behaves: STUB_NAME is in its answers, STUB_REFUSES is printed before it ends at once,
STUB_UNHEALTHY never passes a ping, STUB_CAPACITY is how many models a multi-model one takes before it answers 507,
STUB_ROOT what stands before the paths that it is told.
It prints every request. A body `status N` is answered with N, `sleep S` after S seconds, `stream N` with N chunks,
`die` by ending, `short` with less than it announces.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

models: dict[str, str] = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/ping":
            self.answer(503 if "STUB_UNHEALTHY" in os.environ else 200, b"")
        else:
            self.answer(404, b"")

    def do_DELETE(self) -> None:
        self.answer(200 if models.pop(self.path.split("/")[2], None) else 404, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        print("asked", self.path, body.decode("latin-1"), flush=True)
        if self.path == "/models":
            self.load(json.loads(body))
            return
        word, _, number = body.decode("latin-1").partition(" ")
        if word == "die":
            os._exit(1)
        if word == "sleep":
            time.sleep(float(number))
        if word == "short":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"ten bytes.")
            self.close_connection = True
        elif word == "status":
            self.answer(int(number), b'{"error": "as you wish"}')
        elif word == "stream":
            self.stream(int(number))
        else:
            headers = {name.lower(): value for name, value in self.headers.items()}
            name = os.environ.get("STUB_NAME")
            said = {"path": self.path, "body": body.decode("latin-1"), "headers": headers, "name": name}
            self.answer(200, json.dumps({**said, "environ": dict(os.environ)}).encode())

    def load(self, request: dict[str, str]) -> None:
        if len(models) >= int(os.environ.get("STUB_CAPACITY", "100")):
            self.answer(507, b"no room")
        elif not os.path.isdir(os.environ.get("STUB_ROOT", "") + request["url"]):
            self.answer(400, b"nothing there")
        else:
            models[request["model_name"]] = request["url"]
            self.answer(200, b"")

    def stream(self, count: int) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(count):
            self.wfile.write(b"7\r\npiece %d\r\n" % number)
            self.wfile.flush()
            time.sleep(0.05)
        self.wfile.write(b"0\r\n\r\n")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Amzn-SageMaker-Custom-Attributes", "from=container")
        self.send_header("X-Amzn-SageMaker-New-Session-Id", "abc; Expires=2030-01-01T00:00:00Z")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: object) -> None:
        """Nothing."""


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if "STUB_REFUSES" in os.environ:
        print(f"serve: {os.environ['STUB_REFUSES']}")
        sys.exit(1)
    print("serving", flush=True)
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
