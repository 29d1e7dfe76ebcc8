"""The log of captured requests that nginx writes, moved to where captures lie."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import gevent
import pytest

from tfsd.capture_files import CaptureFiles
from tfsd.capture_format import Body, Invocation, read
from tfsd.control.captures import Captures, tidy
from tfsd.control.metrics.capture_totals import CaptureTotals
from tfsd.run_dir import RunDir

JSON = "application/json"
REQUEST, RESPONSE = '{"instances": [1.0]}', '{"predictions": [2.5]}'


def nginx_line(attributes: str = "", response: str = RESPONSE, encoding: str = "JSON") -> bytes:
    """As the format `captures` of nginx.conf has it."""
    side = f'"observedContentType": "{JSON}", "mode": "%s", "data": %s, "encoding": "%s"'
    return (
        '{"captureData": {"endpointInput": {'
        + side % ("INPUT", json.dumps(REQUEST), "JSON")
        + '}, "endpointOutput": {'
        + side % ("OUTPUT", json.dumps(response), encoding)
        + '}}, "eventMetadata": {"eventId": "e", "customAttributes": ['
        + json.dumps(attributes)
        + '], "inferenceId": "i", "inferenceTime": "2026-01-31T12:00:00Z"}, "eventVersion": "0"}'
    ).encode()


class Moved:
    """A run directory's log, moved into `directory`."""

    def __init__(
        self, path: Path, totals: CaptureTotals | None = None, max_backlog_bytes: int = 1 << 20
    ) -> None:
        self.run_dir = RunDir(path / "run")
        self.run_dir.make(multi_model=False)
        self.directory = path / "captured"
        self.totals = totals or CaptureTotals()
        self.files = CaptureFiles(self.directory, "nginx", 1 << 20)
        self.captures = Captures(
            self.run_dir, self.files, self.totals, lambda: None, lambda: 0.0, lambda: 0.0, max_backlog_bytes
        )

    def log(self, *lines: bytes) -> None:
        with self.run_dir.capture_log.open("ab") as file:
            file.writelines(line + b"\n" for line in lines)

    def found(self) -> list[Invocation]:
        return [
            read(line) for path in self.directory.rglob("*.jsonl") for line in path.read_bytes().splitlines()
        ]

    def lost(self) -> dict[str, int]:
        return {reason: count for reason, count in self.totals.lost.items() if count}


@pytest.fixture
def moved(tmp_path: Path) -> Moved:
    return Moved(tmp_path)


def test_lines_are_moved_as_a_worker_writes_them(moved: Moved) -> None:
    moved.log(nginx_line(), nginx_line("tfs-model-name=a"))
    moved.captures.close(None, 30)
    request, response = Body(REQUEST.encode(), JSON), Body(RESPONSE.encode(), JSON)
    assert moved.found() == [
        Invocation(request, response, "i"),
        Invocation(request, response, "i", "tfs-model-name=a"),
    ]
    assert (moved.totals.written, moved.lost()) == (2, {})


def test_a_response_that_was_not_noted_is_left_out(moved: Moved) -> None:
    moved.log(nginx_line(response="", encoding="-"))
    moved.captures.close(None, 30)
    assert [found.response for found in moved.found()] == [None]


@pytest.mark.parametrize(
    "text",
    ['"customAttributes": [""], ', ', "endpointOutput": {"data": "", "encoding": "-"}', '"encoding": "-"'],
)
def test_what_a_client_sends_is_never_taken_for_what_is_empty(moved: Moved, text: str) -> None:
    moved.log(nginx_line(attributes=text, response=text))
    moved.captures.close(None, 30)
    (found,) = moved.found()
    assert found.response is not None
    assert (found.response.data.decode(), found.custom_attributes) == (text, text)


def test_every_line_can_be_read_whatever_bytes_an_attribute_has() -> None:
    line = nginx_line("tfs-model-name=X").replace(b"=X", b"=\xff\xc3\xa9")
    assert json.loads(tidy([line]))["eventMetadata"]["customAttributes"] == ["tfs-model-name=\ufffd\xe9"]


def test_a_later_control_goes_on_where_the_last_one_was(moved: Moved, tmp_path: Path) -> None:
    moved.log(nginx_line())
    moved.captures.close(None, 30)
    later = Moved(tmp_path, CaptureTotals.from_document(json.loads(json.dumps(moved.totals.to_document()))))
    later.log(nginx_line())
    later.captures.close(None, 30)
    assert len(later.found()) == 2
    assert later.totals.written == 2


def test_a_directory_that_cannot_be_written_is_counted(
    moved: Moved, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/captured")

    monkeypatch.setattr(moved.files, "write", full)
    moved.log(nginx_line(), nginx_line())
    moved.captures.close(None, 30)
    assert (moved.totals.written, moved.lost()) == (0, {"disk": 2})
    assert "2 sampled requests were not captured: /captured: No space left on device" in caplog.text


def test_what_waits_for_a_slow_disk_is_bounded_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = Moved(tmp_path, max_backlog_bytes=1000)
    free = gevent.monkey.get_original("threading", "Event")()
    write: Callable[[bytes, float], None] = moved.files.write

    entered = []

    def slow(data: bytes, moment: float) -> None:
        entered.append(data)
        free.wait()
        write(data, moment)

    monkeypatch.setattr(moved.files, "write", slow)
    moved.log(nginx_line())
    moved.captures.look(None)
    gevent.sleep(0)  # the first of all, with nothing to do
    moved.captures.look(None)
    while not entered:
        gevent.sleep(0.01)
    moved.log(*[nginx_line()] * 9)
    moved.captures.look(None)
    assert moved.run_dir.capture_log.stat().st_size == 0
    free.set()
    moved.log(nginx_line())
    moved.captures.close(None, 30)
    assert moved.lost() == {"backlog": 10}
    assert moved.totals.written == 2


@pytest.mark.parametrize(
    ("size", "kept"), [(64 << 20, True), ((64 << 20) + 1, False)], ids=["as-much", "more"]
)
def test_how_much_may_wait(moved: Moved, monkeypatch: pytest.MonkeyPatch, size: int, kept: bool) -> None:
    """The bound that control has, of a log that is being moved."""
    captures = Captures(moved.run_dir, moved.files, moved.totals, lambda: None, lambda: 0.0, lambda: 0.0)
    monkeypatch.setattr(captures, "_moving", gevent.spawn_later(60, lambda: None))
    moved.run_dir.capture_log.touch()
    os.truncate(moved.run_dir.capture_log, size)
    captures.look(None)
    assert moved.run_dir.capture_log.stat().st_size == (size if kept else 0)
    captures._moving.kill()


def test_what_nginx_itself_has_dropped_is_counted_once(moved: Moved) -> None:
    moved.run_dir.dropped_captures.write_text("...")
    moved.captures.look(None)
    moved.captures.close(None, 30)
    assert moved.lost() == {"backlog": 3}


def test_workers_counts_are_summed_over_their_processes(moved: Moved) -> None:
    totals = moved.totals
    totals.heard("w", {"since": 1, "written": 5, "lost": {"disk": 1}})
    totals.heard("w", {"since": 1, "written": 7, "lost": {"disk": 1}})
    totals.heard("w", {"since": 2, "written": 9, "lost": {}})  # it was restarted
    totals.heard("w", {})
    totals.heard("v", {"since": 1, "written": 1, "lost": {"size": 2}})
    assert (totals.written, moved.lost()) == (17, {"disk": 1, "size": 2})
