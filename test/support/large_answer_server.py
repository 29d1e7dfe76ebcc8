"""A stand-in for tensorflow_model_server whose predictions are larger than 16 KB; it says which requests were the last
of their connection: `python large_answer_server.py --rest_api_port=N` answers them with {"closing": true}."""

from __future__ import annotations

import http.server
import json
import sys

STATUS = {"state": "AVAILABLE", "version": "1", "status": {"error_code": "OK", "error_message": ""}}
SIZE = 20_000


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer({"model_version_status": [STATUS]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        closing = self.headers.get("Connection", "") == "close"
        self._answer({"closing": closing, "predictions": "x" * SIZE})

    def _answer(self, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    port = next(word.partition("=")[2] for word in sys.argv if word.startswith("--rest_api_port="))
    http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
