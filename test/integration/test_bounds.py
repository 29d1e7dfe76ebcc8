"""What one request may cost: how many workers it may take with it, and how much disk."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from support.raw_http import RawConnection
from support.stack import RunningStack
from tfsd.wsgi import MAX_HEADERS

HANDLER = """
import os, signal

def handler(data, context):
    body = data.read()
    if body == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    return str(len(body)), "text/plain"
"""
MAX_BODY = 36 << 20  # more than nginx keeps in memory
WORKERS = 4
PINGS = 4000


@pytest.fixture(scope="module")
def stack(
    models: Path, quick_model_server: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    directory = tmp_path_factory.mktemp("bounds")
    (directory / "half_plus_two").symlink_to(models / "half_plus_two")
    (directory / "code").mkdir()
    (directory / "code" / "inference.py").write_text(HANDLER)
    environ = {
        "SAGEMAKER_TFS_BINARY": str(quick_model_server),
        "SAGEMAKER_TFS_MAX_BODY_MB": "36",
        "SAGEMAKER_TFS_MAX_SPOOLED_MB": "72",
        "SAGEMAKER_GUNICORN_WORKERS": str(WORKERS),
    }
    with RunningStack(tmp_path_factory.mktemp("stack"), directory, environ) as running:
        yield running


def test_a_request_that_kills_its_worker_gets_one_other(stack: RunningStack) -> None:
    for _ in range(40):  # kept connections to every worker, on which nginx does not count failures
        stack.invoke(b"x")
    answer = stack.invoke(b"die")
    assert (answer.status_code, answer.headers["Content-Type"]) == (502, "application/json")
    assert answer.json()["error"].startswith("both workers that got this request ended")
    stack.wait_for(lambda: stack.state("worker-default-0") == "RUNNING", 20, "restarted")
    assert stack.log_text().count("terminated by SIGKILL") == 2
    stack.wait_for(lambda: stack.ping().status_code == 200, 20, "healthy")
    assert stack.invoke(b"x").text == "1"


def test_more_headers_than_a_worker_reads(stack: RunningStack) -> None:
    def answer(number: int) -> requests.Response:
        return stack.invoke(b"x", **{f"X-{n}": "y" for n in range(number)})

    assert answer(MAX_HEADERS - 20).text == "1"  # a client and nginx have some of their own
    refused = answer(MAX_HEADERS + 1)
    assert (refused.status_code, refused.headers["Content-Type"]) == (400, "application/json")
    assert "more than 200 headers" in refused.json()["error"]


def test_a_body_that_is_too_large(stack: RunningStack) -> None:
    assert stack.invoke(b"x" * MAX_BODY).text == str(MAX_BODY)
    pieces = iter([b"x" * MAX_BODY, b"x"])
    for body in (b"x" * (MAX_BODY + 1), pieces):
        answer = requests.post(stack.url("/invocations"), data=body, timeout=60)
        assert (answer.status_code, answer.headers["Content-Type"]) == (413, "application/json")
        assert "SAGEMAKER_TFS_MAX_BODY_MB" in answer.json()["error"]


def test_a_body_that_cannot_be_kept(stack: RunningStack) -> None:
    directory = stack.run_dir / "nginx" / "body"
    away = directory.with_name("away")
    directory.rename(away)  # as a full disk, which a test cannot have
    directory.write_text("")
    try:
        answer = stack.invoke(b"x" * MAX_BODY)
        assert (answer.status_code, "disk" in answer.json()["error"]) == (507, True)
    finally:
        directory.unlink()
        away.rename(directory)
    assert stack.invoke(b"x" * MAX_BODY).status_code == 200


def test_only_so_many_bodies_may_lie_on_the_disk_at_once(stack: RunningStack) -> None:
    """Two, here: 72 MB / 36 MB."""
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\n"
    with RawConnection(stack.port) as known, RawConnection(stack.port) as chunked:
        known.send(head + b"Content-Length: %d\r\n\r\n" % MAX_BODY + b"x" * 1000)
        chunked.send(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % MAX_BODY)
        stack.wait_for(lambda: stack.invoke(b"x" * MAX_BODY).status_code == 503, 20, "full")
        for body in (b"x" * MAX_BODY, iter([b"x" * MAX_BODY])):
            answer = requests.post(stack.url("/invocations"), data=body, timeout=60)
            assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/json")
            assert "SAGEMAKER_TFS_MAX_SPOOLED_MB" in answer.json()["error"]
        for body in (b"x" * 7_000_000, iter([b"x" * 3_500_000] * 2)):  # these stay in memory
            assert requests.post(stack.url("/invocations"), data=body, timeout=60).text == "7000000"
        known.send(b"x" * (MAX_BODY - 1000))
        chunked.send(b"x" * MAX_BODY + b"\r\n0\r\n\r\n")
        for connection in (known, chunked):
            assert connection.answer()[2] == str(MAX_BODY).encode()
    assert stack.invoke(b"x" * MAX_BODY).text == str(MAX_BODY)


def test_thousands_of_pings_at_once_are_all_answered(stack: RunningStack) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * PINGS:
        pytest.skip(
            f"a process may have {hard} files open: too few for {PINGS} connections here and in nginx"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * PINGS), hard))
    try:
        statuses = asyncio.run(ping_at_once(stack.port, PINGS))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert Counter(statuses) == {b"200": PINGS}


async def ping_at_once(port: int, number: int) -> list[bytes]:
    """The statuses of so many pings, all of which are sent before the first answer is read."""
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(number)]
    for _, writer in connections:
        writer.write(b"GET /ping HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    answers = await asyncio.gather(*(reader.read() for reader, _ in connections))
    for _, writer in connections:
        writer.close()
    return [answer.split(b" ", 2)[1] if answer else b"no answer" for answer in answers]
