"""Following and rotating the log of requests; nginx is a real one where it matters."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from support.control import eventually
from tfsd.control.metrics import request_log
from tfsd.control.metrics.request_log import CHUNK_BYTES, QUIET_SECONDS, Position, RequestLog, signal_nginx
from tfsd.run_dir import RunDir
from tfsd.stack.nginx import find

NOWHERE = Position(0, 0)  # of no file: reading starts at the beginning


class Reader:
    """A RequestLog with a clock of its own; keeps the lines read, and what was saved."""

    def __init__(self, path: Path, position: Position | None = NOWHERE, rotate_bytes: int = 1000) -> None:
        self.now = 0.0
        self.lines: list[bytes] = []
        self.saved: list[Position] = []
        self.reopened = 0
        self.log = RequestLog(
            path, position, self._take, self._reopen, self.saved.append, lambda: self.now, rotate_bytes
        )

    def read(self) -> list[bytes]:
        while self.log.read_chunk():
            pass
        return self.lines

    def _take(self, lines: Iterable[bytes]) -> None:
        self.lines += lines

    def _reopen(self) -> None:
        self.reopened += 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "requests.log"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_the_first_reader_starts_at_the_end(path: Path) -> None:
    append(path, "before\n")
    reader = Reader(path, position=None)
    append(path, "after\n")

    assert reader.read() == [b"after"]


def test_a_file_that_does_not_exist_yet_is_read_from_its_beginning(path: Path) -> None:
    reader = Reader(path, position=None)
    assert reader.read() == []

    append(path, "first\n")

    assert reader.read() == [b"first"]


def test_a_line_is_taken_when_it_is_whole(path: Path) -> None:
    reader = Reader(path)
    append(path, "one\ntw")
    assert reader.read() == [b"one"]

    append(path, "o\n")
    assert reader.read() == [b"one", b"two"]


def test_reading_goes_on_where_it_was_left(path: Path) -> None:
    append(path, "one\ntwo\n")
    first = Reader(path)
    first.read()
    append(path, "three\n")

    assert Reader(path, first.log.position).read() == [b"three"]


def test_lines_longer_than_a_chunk_do_not_stop_it(path: Path) -> None:
    append(path, "x" * (2 * CHUNK_BYTES + 5) + "\nnext\n")

    assert Reader(path, rotate_bytes=10**9).read()[-1] == b"next"


def test_a_file_that_was_cut_is_read_from_its_beginning(path: Path) -> None:
    append(path, "a long line\n")
    reader = Reader(path)
    reader.read()
    path.write_text("new\n")

    assert reader.read()[1:] == [b"new"]


def rotated(path: Path) -> tuple[Reader, Path]:
    """A reader that has just renamed the log, and the old file."""
    append(path, "old\n" * 300)
    reader = Reader(path)
    reader.read()
    assert reader.reopened == 1
    assert not path.exists()
    return reader, path.with_name("requests.log.1")


def test_the_old_file_is_read_to_its_end_and_then_deleted(path: Path) -> None:
    reader, old = rotated(path)
    append(old, "late\n")
    append(path, "new\n")
    reader.now += 1
    assert reader.read()[300:] == [b"late"]

    reader.now += QUIET_SECONDS - 0.1
    append(old, "later\n")
    reader.read()
    reader.now += QUIET_SECONDS - 0.1
    assert reader.read()[300:] == [b"late", b"later"]
    assert old.exists()

    reader.now += 0.2
    assert reader.read()[300:] == [b"late", b"later", b"new"]
    assert not old.exists()


def test_half_a_line_at_the_end_of_the_old_file_holds_up_nothing(path: Path) -> None:
    reader, old = rotated(path)
    append(old, "nginx was kil")
    append(path, "new\n")
    reader.now += QUIET_SECONDS + 1

    assert reader.read()[300:] == [b"new"]


def test_nginx_is_asked_again_when_it_opens_no_new_file(path: Path) -> None:
    reader, old = rotated(path)
    for _ in range(25):
        reader.now += 1
        reader.read()

    assert reader.reopened == 3
    assert old.exists()


def test_a_reader_killed_at_any_moment_of_a_rotation_loses_no_line(path: Path) -> None:
    reader, old = rotated(path)
    append(old, "late\n")
    append(path, "new\n")

    renamed = Reader(path, reader.log.position)
    assert renamed.read() == [b"late"]

    renamed.now += QUIET_SECONDS + 1
    assert renamed.read() == [b"late", b"new"]
    just_before_deleting = Reader(path, renamed.saved[0])
    just_after = Reader(path, renamed.saved[1])
    assert just_before_deleting.read() == just_after.read() == [b"new"]
    assert not old.exists()


def test_what_a_stack_before_left_is_removed(path: Path) -> None:
    append(path.with_name("requests.log.1"), "stale\n")

    assert Reader(path, position=None).read() == []
    assert not path.with_name("requests.log.1").exists()


def test_no_nginx_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    signal_nginx(RunDir(tmp_path))

    assert "Cannot have nginx open a new requests.log" in caplog.text


NGINX = """
{user}
daemon off;
worker_processes 2;
pid {run}/nginx.pid;
error_log {run}/error.log;
events {{ }}
http {{
    log_format metrics '$msec\t-\t-\t$status\t$request_time\t-\t$arg_n';
    access_log {run}/requests.log metrics buffer=32k flush=1s;
    client_body_temp_path {run}/b; proxy_temp_path {run}/p; fastcgi_temp_path {run}/f;
    uwsgi_temp_path {run}/u; scgi_temp_path {run}/s;
    server {{ listen 127.0.0.1:{port}; location / {{ return 200 ok; }} }}
}}
"""


def test_rotation_under_load_loses_no_line_of_a_real_nginx(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # nginx flushes within a second, on a machine that is not busy
    monkeypatch.setattr(request_log, "QUIET_SECONDS", 3.0)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    user = "user root;" if os.geteuid() == 0 else ""
    (tmp_path / "nginx.conf").write_text(NGINX.format(run=tmp_path, port=port, user=user))
    command = [find().binary, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    nginx = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    lines: list[bytes] = []
    rotations: list[Path] = []

    def reopen() -> None:
        rotations.append(path)
        signal_nginx(RunDir(tmp_path))

    log = RequestLog(
        path,
        NOWHERE,
        lines.extend,
        reopen,
        lambda _: None,
        time.monotonic,
        20_000,
    )
    stop, sent = threading.Event(), [0, 0]

    def send(client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while not stop.is_set():
            connection.request("GET", f"/?n={client}-{sent[client]}")
            connection.getresponse().read()
            sent[client] += 1
            time.sleep(0.001)

    def read_all() -> int:
        while log.read_chunk():
            pass
        return len(lines)

    try:
        eventually(lambda: path.exists() and (tmp_path / "nginx.pid").read_text())
        clients = [threading.Thread(target=send, args=(client,)) for client in (0, 1)]
        for client in clients:
            client.start()
        eventually(lambda: read_all() and len(rotations) >= 2)
        stop.set()
        for client in clients:
            client.join()
        wanted = {f"{client}-{n}" for client in (0, 1) for n in range(sent[client])}

        eventually(lambda: read_all() >= len(wanted))
        assert sorted(line.split(b"\t")[6].decode() for line in lines) == sorted(wanted)
    finally:
        stop.set()
        nginx.terminate()
        nginx.wait(10)
