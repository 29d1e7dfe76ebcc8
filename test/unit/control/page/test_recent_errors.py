"""The list of errors: nginx's lines, and the workers' words for them."""

from __future__ import annotations

import datetime
import json
import socket
import tempfile
from pathlib import Path

import gevent

from tfsd.control.page.recent_errors import MAX_TEXTS, SHOWN, RecentErrors, listen
from tfsd.run_dir import RunDir
from tfsd.worker.error_reports import MAX_TEXT, ErrorReports
from tfsd.worker.replies import from_error


def line(number: int, route: str = "worker", model: str = "m") -> list[bytes]:
    time = datetime.datetime.fromtimestamp(number, datetime.UTC).isoformat()
    return f"{time}\t{route}\t{model}\t400\t0.001\t20\t-\t-\tid-{number}".encode().split(b"\t")


def test_the_newest_come_first_and_their_number_is_bounded() -> None:
    errors = RecentErrors()
    for number in range(SHOWN + 5):
        errors.failed(line(number))

    document = errors.document()

    assert len(document) == SHOWN
    assert document[0] == {
        "time": SHOWN + 4,
        "request_id": f"id-{SHOWN + 4}",
        "model": "m",
        "route": "worker",
        "status": 400,
        "text": "answered by nginx",
    }


def test_a_text_may_come_before_or_after_its_line() -> None:
    errors = RecentErrors()
    errors.explained("id-1", "no such <model>")
    errors.failed(line(1))
    errors.failed(line(2))
    errors.explained("id-2", "too late")
    errors.failed(line(3, route="direct"))

    assert [error["text"] for error in errors.document()] == [
        "answered by the model server",
        "too late",
        "no such <model>",
    ]


def test_texts_without_a_line_do_not_pile_up() -> None:
    errors = RecentErrors()
    for number in range(MAX_TEXTS + 1):
        errors.explained(f"id-{number}", "text")
    errors.failed(line(0))
    errors.failed(line(1))
    assert [error["text"] for error in errors.document()] == ["text", "answered by nginx"]


def test_a_line_that_is_none_is_no_error() -> None:
    errors = RecentErrors()
    errors.failed([b"x"])
    errors.failed([b"now", b"worker", b"m", b"400", b"id"])
    assert errors.document() == []


def test_a_model_s_name_is_decoded() -> None:
    errors = RecentErrors()
    errors.failed(line(1, model="%3Cimg%20src%3Dx%3E"))
    assert errors.document()[0]["model"] == "<img src=x>"


def test_workers_send_datagrams(tmp_path: Path) -> None:
    errors = RecentErrors()
    errors.failed(line(7))
    path = tmp_path / "errors.sock"
    path.write_text("left by an earlier start")
    greenlet = listen(path, errors)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as worker:
        worker.sendto(b"junk", str(path))
        worker.sendto(json.dumps({"id": "id-7", "text": "what went wrong"}).encode(), str(path))

    with gevent.Timeout(20):
        while errors.document()[0]["text"] != "what went wrong":
            gevent.sleep(0.01)
    greenlet.kill()


def test_a_workers_longest_text_arrives() -> None:
    text = "\N{GRINNING FACE}" * MAX_TEXT
    with tempfile.TemporaryDirectory(prefix="tfsd-") as directory:  # short enough for a socket
        run_dir = RunDir(Path(directory))
        errors = RecentErrors()
        errors.failed(line(7))
        greenlet = listen(run_dir.errors_socket, errors)
        ErrorReports(run_dir).send("id-7", from_error(400, text))

        with gevent.Timeout(20):
            while errors.document()[0]["text"] != text:
                gevent.sleep(0.01)
        greenlet.kill()
