"""What nginx notes of sampled requests, by a script and a log format."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.nginx import RunningNginx
from tfsd.stack.templates import render

BLOCK = """
js_path "DIRECTORY"; js_import capture from capture.js; include capture.conf;
map $uri $direct {{ "~^/worker/" ""; default 1; }}
map "" $tfsd_request_id {{ default an-id; }}
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
    conf = render("capture.conf", request_id_prefix="0f0f0f0f")
    return start_nginx(BLOCK.format(), files | {"capture.js": script, "capture.conf": conf})


Event = dict[str, Any]


def noted(nginx: RunningNginx, path: str) -> list[Event]:
    """What is noted of a request, which another one follows whose line must come next."""
    log = Path(nginx.socket.parent / "captures.log")
    before = len(log.read_text().splitlines()) if log.exists() else 0
    for asked in (path, "/short.json"):
        connection = nginx.connect()
        connection.request("GET", asked)
        assert connection.getresponse().read() is not None
    found: list[Event] = []
    while not found or output(found[-1])["data"] != RESPONSES["short.json"]:
        time.sleep(0.01)
        found = [json.loads(line) for line in log.read_text().splitlines()[before:]]
    return found[:-1]


def output(event: Event) -> dict[str, str]:
    found: dict[str, str] = event["captureData"]["endpointOutput"]
    return found


@pytest.mark.parametrize("name", ["long.json", "empty.json"])
def test_json_is_noted_whole(nginx: RunningNginx, name: str) -> None:
    (event,) = noted(nginx, f"/{name}")
    assert output(event) == {
        "observedContentType": "application/json",
        "mode": "OUTPUT",
        "data": RESPONSES[name],
        "encoding": "JSON",
    }


@pytest.mark.parametrize("path", ["/page.html", "/large.json", "/e/short.json"])
def test_of_all_else_only_that_it_came(nginx: RunningNginx, path: str) -> None:
    (event,) = noted(nginx, path)
    assert (output(event)["data"], output(event)["encoding"]) == ("", "-")


def test_nothing_is_noted_of_a_worker_s_response(nginx: RunningNginx) -> None:
    assert noted(nginx, "/worker/long.json") == []


def test_an_event_has_a_uuid_of_its_own(nginx: RunningNginx) -> None:
    events = [event for _ in range(2) for event in noted(nginx, "/empty.json")]
    one, other = (uuid.UUID(event["eventMetadata"]["eventId"]) for event in events)
    assert one != other
    assert {one.variant, other.variant} == {uuid.RFC_4122}
    assert {one.version, other.version} == {8}
