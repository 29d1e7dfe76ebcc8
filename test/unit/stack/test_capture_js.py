"""The script that notes responses of sampled requests, in a real nginx."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.nginx import RunningNginx
from tfsd.stack.templates import render

BLOCK = """
js_path "DIRECTORY"; js_import capture from capture.js; js_var $captured; js_var $captured_response;
map $uri $direct {{ "~^/worker/" ""; default 1; }}
log_format captures escape=json '{{"text": "$captured_response", "kind": "$captured"}}';
types {{ application/json json; text/html html; }}
upstream origin {{ server unix:DIRECTORY/origin.sock; }}
server {{
    listen LISTEN;
    location / {{
        js_body_filter capture.response buffer_type=buffer;
        access_log "DIRECTORY/captures.log" captures if=$captured;
        proxy_pass http://origin;
    }}
}}
server {{ listen unix:DIRECTORY/origin.sock; root "DIRECTORY"; location /worker/ {{ alias "DIRECTORY/"; }}
         location /e/ {{ alias "DIRECTORY/"; add_header Content-Encoding x; }} }}
"""
LONG = (
    '{"predictions": ["' + "日本語" * 20_000 + '"]}'
)  # characters that lie across the ends of nginx's buffers
RESPONSES = {"short.json": '{"predictions": [2.5]}', "long.json": LONG, "page.html": "<p>", "empty.json": ""}


@pytest.fixture(scope="module")
def nginx(start_nginx: Callable[[str, dict[str, str]], RunningNginx]) -> RunningNginx:
    files = RESPONSES | {"large.json": " " * (6 * 1024 * 1024 + 1)}
    script = render("capture.js", log="/nowhere", dropped="/nowhere", max_log_bytes=0)
    return start_nginx(BLOCK.format(), files | {"capture.js": script})


def noted(nginx: RunningNginx, path: str) -> list[dict[str, str]]:
    """What is noted of a request, which another one follows whose line must come next."""
    log = Path(nginx.socket.parent / "captures.log")
    before = len(log.read_text().splitlines()) if log.exists() else 0
    for asked in (path, "/short.json"):
        connection = nginx.connect()
        connection.request("GET", asked)
        assert connection.getresponse().read() is not None
    found: list[dict[str, str]] = []
    while not found or found[-1]["text"] != RESPONSES["short.json"]:
        time.sleep(0.01)
        found = [json.loads(line) for line in log.read_text().splitlines()[before:]]
    return found[:-1]


@pytest.mark.parametrize("name", ["long.json", "empty.json"])
def test_json_is_noted_whole(nginx: RunningNginx, name: str) -> None:
    assert noted(nginx, f"/{name}") == [{"text": RESPONSES[name], "kind": "JSON"}]


@pytest.mark.parametrize("path", ["/page.html", "/large.json", "/e/short.json"])
def test_of_all_else_only_that_it_came(nginx: RunningNginx, path: str) -> None:
    assert noted(nginx, path) == [{"text": "", "kind": "-"}]


def test_nothing_is_noted_of_a_worker_s_response(nginx: RunningNginx) -> None:
    assert noted(nginx, "/worker/long.json") == []
