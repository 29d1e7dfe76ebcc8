"""The page's HTTP: `GET /` for browsers, the files that it names, and `GET /status.json`.

Owns the headers that keep a browser from running or fetching anything that is not the page's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bottle import Bottle, HTTPResponse, request

HERE = Path(__file__).parent
FILES = {"status.css": "text/css; charset=utf-8", "status.js": "text/javascript; charset=utf-8"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def add_description(app: Bottle, description: Callable[[], dict[str, Any]]) -> None:
    """Add `GET /openapi.json`; `description` returns the document."""

    @app.get("/openapi.json")
    def openapi() -> HTTPResponse:
        return _answer(json.dumps(description()), "application/json")


def add_page(app: Bottle, status: Callable[[], dict[str, Any]]) -> None:
    """Add the page to control's application; `status` returns the document that it shows."""

    @app.get("/")
    def page() -> HTTPResponse:
        if "text/html" not in request.headers.get("Accept", ""):
            return _answer(json.dumps(status()), "application/json")
        return _answer((HERE / "index.html").read_text(), "text/html; charset=utf-8")

    @app.get("/status.json")
    def document() -> HTTPResponse:
        return _answer(json.dumps(status()), "application/json")

    @app.get("/<name:re:status[.](css|js)>")
    def file(name: str) -> HTTPResponse:
        return _answer((HERE / name).read_text(), FILES[name])


def _answer(body: str, content_type: str) -> HTTPResponse:
    return HTTPResponse(body, 200, headers={**HEADERS, "Content-Type": content_type})
