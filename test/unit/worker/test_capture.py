from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import gevent
import pytest

from tfsd.capture_files import CaptureFiles
from tfsd.capture_format import Body, Invocation, read
from tfsd.worker import replies
from tfsd.worker.capture import MAX_BODY_BYTES, Capture

OVERHEAD = 1000  # what an invocation is taken for, beside its bodies


class Files:
    """Lines in memory; writes wait until the disk is `free`."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.free = gevent.monkey.get_original("threading", "Event")()
        self.free.set()
        self.error: OSError | None = None

    def append(self, lines: Sequence[str], moment: float) -> None:
        self.free.wait()
        if self.error:
            raise self.error
        self.lines += lines

    @property
    def captured(self) -> list[Invocation]:
        return [read(line) for line in self.lines]


@pytest.fixture
def files() -> Iterator[Files]:
    files = Files()
    yield files
    files.free.set()


@pytest.fixture
def client(serve: Callable[..., Any], files: Files) -> Any:
    """A worker that captures, with a handler that gives back what it gets."""

    def handler(data: Any, context: Any) -> tuple[Any, ...] | None:
        text = data.read().decode()
        if text == "fail":
            raise RuntimeError("no")
        if text == "stream":
            return iter(["a", "b"]), "text/plain"
        return text, "text/csv"

    return serve(handler, capture=Capture(cast(CaptureFiles, files)))


def invoke(client: Any, body: bytes, **more: Any) -> Any:
    return client.invoke(body, X_Tfsd_Sampled="yes", Content_Type="text/csv", **more)


def test_a_sampled_request_is_captured_with_its_answer(client: Any, files: Files) -> None:
    attributes = "tfs-model-name=half_plus_two"
    answer = invoke(
        client, b"1,2\n", X_Tfsd_Request_Id="an-id", X_Amzn_SageMaker_Custom_Attributes=attributes
    )
    assert (answer.status, answer.body) == (200, b"1,2\n")
    client.capture.close()
    body = Body(b"1,2\n", "text/csv")
    assert files.captured == [Invocation(body, body, "an-id", attributes)]


def test_others_are_not(client: Any, files: Files) -> None:
    assert client.invoke(b"1,2\n").status == 200
    assert client.invoke(b"1,2\n", X_Tfsd_Sampled="no").status == 200
    assert invoke(client, b"x" * (MAX_BODY_BYTES + 1)).status == 200
    client.capture.close()
    assert files.lines == []


def test_errors_are_captured_and_of_a_stream_the_request(client: Any, files: Files) -> None:
    assert invoke(client, b"fail").status == 500
    assert invoke(client, b"stream").body == b"ab"
    assert client.ask("tfs-model-name=nobody").status == 404
    invoke(client, b"x", X_Amzn_SageMaker_Custom_Attributes="tfs-model-name=nobody")
    client.capture.close()
    failed, stream, unknown = files.captured
    assert failed.response is not None
    assert failed.response.data == b'{"error": "no"}'
    assert stream.request.data == b"stream"
    assert stream.response is None
    assert unknown.response is not None
    assert b"nobody" in unknown.response.data


def test_no_request_waits_for_a_slow_disk_and_the_backlog_is_bounded(
    client: Any, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    files.free.clear()
    body = b"x" * (1 << 20)
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            assert invoke(client, body).status == 200
    assert files.lines == []
    files.free.set()
    client.capture.close(30)
    assert 10 <= len(files.lines) < 20
    said = [record.message.split() for record in caplog.records if "the disk is too slow" in record.message]
    assert [len(files.lines) + sum(int(words[0]) for words in said), len(said)] == [20, 2]


@pytest.mark.parametrize("size", [32 << 20, (32 << 20) + 1])
def test_how_much_may_wait(files: Files, size: int) -> None:
    files.free.clear()
    capture = Capture(cast(CaptureFiles, files))
    capture.take(Invocation(Body(bytes(1 << 20))))
    capture.take(Invocation(Body(bytes(size - (1 << 20) - 2 * OVERHEAD))))
    assert capture.counts.lost == ({} if size == 32 << 20 else {"backlog": 1})
    files.free.set()
    capture.close(30)


def test_a_full_disk_is_said_once_a_minute_with_the_count(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    now = [100.0]
    capture = Capture(cast(CaptureFiles, files), clock=lambda: now[0])
    files.error = OSError(28, "No space left on device", "/capture")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            capture.take(Invocation(Body(b"x")))
            capture.flush(30)
        assert len(caplog.records) == 1
        capture.close()
    assert "2 sampled requests were not captured" in caplog.records[-1].message
    assert "1 sampled requests were not captured: /capture: No space left on device; make room" in caplog.text


def test_lines_are_written_off_the_event_loop(tmp_path: Path) -> None:
    threads = []

    class Spy(CaptureFiles):
        def append(self, lines: Sequence[str], moment: float) -> None:
            threads.append(gevent.monkey.get_original("threading", "get_ident")())
            super().append(lines, moment)

    capture = Capture(Spy(tmp_path, "w", 1 << 20))
    reply = replies.Reply(200, [("Content-Type", "text/csv")], b"1")
    for _ in range(5):
        environ = {"HTTP_X_TFSD_SAMPLED": "yes", "CONTENT_LENGTH": "0", "wsgi.input": io.BytesIO()}
        sampled = capture.sample(environ, "a model", None)
        assert sampled is not None
        sampled.answered(reply)
    capture.close()
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()
    (file,) = tmp_path.rglob("*.jsonl")
    assert [read(line).target_model for line in file.read_text().splitlines()] == ["a model"] * 5
