from __future__ import annotations

import logging
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event
from stub_model_server import PREDICTIONS, answer

from tfsd.plan import Model, ModelServer
from tfsd.worker.upstream import connection
from tfsd.worker.upstream.client import ModelServerDown, ModelServers
from tfsd.worker.upstream.connection import Connection

HEAD = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"


@pytest.fixture
def group_of() -> Iterator[Callable[..., Any]]:
    made = []

    def make(*stubs: Any) -> Any:
        servers = tuple(ModelServer(f"model-m-{i}", stub.port, 0) for i, stub in enumerate(stubs))
        made.append(ModelServers({"m": Model("m", "/", (1,), servers)}))
        return made[-1].of_model("m")

    yield make
    for servers in made:
        servers.close_idle()


def send(group: Any, seconds: float = 20.0, body: bytes = b"{}") -> Any:
    return group.send(HEAD.replace(b"2\r\n", b"%d\r\n" % len(body)), body, time.monotonic() + seconds)


def test_connections_are_kept(stub: Any, group_of: Callable[..., Any]) -> None:
    group = group_of(stub)
    assert [send(group).body for _ in range(3)] == [PREDICTIONS] * 3
    assert stub.connections == 1


def test_one_connection_for_each_request_under_way(stub: Any, group_of: Callable[..., Any]) -> None:
    group = group_of(stub)
    stub.behaviours = [lambda *_: gevent.sleep(0.05) or answer()] * 3
    gevent.joinall([gevent.spawn(send, group) for _ in range(3)], raise_error=True)
    gevent.joinall([gevent.spawn(send, group) for _ in range(3)], raise_error=True)
    assert stub.connections == 3


def test_kept_connections_that_were_closed(
    stub: Any, group_of: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    group = group_of(stub)
    gevent.joinall([gevent.spawn(send, group) for _ in range(3)], raise_error=True)
    stub.drop_connections()
    gevent.sleep(0.01)
    assert send(group).body == PREDICTIONS
    assert not caplog.records  # that is no failure


def test_an_answer_in_pieces(stub: Any, group_of: Callable[..., Any]) -> None:
    body = b"x" * 300_000

    def slowly(_stub: Any, sock: Any, _request: Any) -> bytes:
        reply = answer(body)
        for start, end in ((0, 5), (5, 40), (40, 100_000), (100_000, None)):
            sock.sendall(reply[start:end])
            gevent.sleep(0.01)
        return b""

    stub.behaviours = [slowly]
    group = group_of(stub)
    tracemalloc.start()
    try:
        assert send(group).body == body
        ours = tracemalloc.Filter(True, connection.__file__)
        left = tracemalloc.take_snapshot().filter_traces([ours]).statistics("filename")
    finally:
        tracemalloc.stop()
    # the connection, which is kept, keeps nothing of it
    assert sum(held.size for held in left) < len(body) / 2


@pytest.mark.parametrize("size", [1_000, 100_000, 5_000_000])
def test_a_request_of_any_size(stub: Any, group_of: Callable[..., Any], size: int) -> None:
    body = b"y" * size
    send(group_of(stub), body=body)
    assert stub.requests[0].body == body


@pytest.mark.parametrize(
    ("reply", "body", "reusable"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            b"abc",
            True,
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", b"", True),
        (b"HTTP/1.1 200 OK\r\nX-Filler: " + b"x" * 4000 + b"\r\nContent-Length: 3\r\n\r\nabc", b"abc", True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"abc"), b"abc", True),
        (answer(b"abc", "200 OK", "Connection: close"), b"abc", False),
        (answer(b"abc", "200 OK", "Connection: Keep-Alive"), b"abc", True),
        (answer(b"abc", "200 OK", "Connection: close\r\nConnection: keep-alive"), b"abc", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc", False),
        (answer(b"abc") + b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", b"abc", False),
    ],
)
def test_framing_of_answers(
    stub: Any, group_of: Callable[..., Any], reply: bytes, body: bytes, reusable: bool
) -> None:
    stub.usual = reply
    group = group_of(stub)
    assert [send(group).body, send(group).body] == [body, body]
    assert stub.connections == (1 if reusable else 2)


def test_answers_with_the_same_head(stub: Any, group_of: Callable[..., Any]) -> None:
    stub.behaviours = [
        lambda *_, body=body: answer(body, "404 Not Found") for body in (b"abc", b"xyz", b"123")
    ]
    group = group_of(stub)
    answers = [send(group) for _ in range(3)]
    assert [(got.status, got.body) for got in answers] == [(404, b"abc"), (404, b"xyz"), (404, b"123")]
    assert {got.header(b"content-length") for got in answers} == {"3"}


@pytest.mark.parametrize("more", ["Date: today", "Connection: keep-alive"])
def test_a_usual_answer_is_not_parsed(
    stub: Any, group_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    """nginx, which may be in front of a model server, says that it keeps the connection."""
    monkeypatch.setattr(Connection, "_parsed", lambda *_: pytest.fail("it was parsed"))
    stub.usual = answer(b"abc", "200 OK", more)
    assert send(group_of(stub)).body == b"abc"


def test_an_answer_that_ends_with_the_connection(stub: Any, group_of: Callable[..., Any]) -> None:
    def end(_stub: Any, sock: Any, _request: Any) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it")

    stub.behaviours = [end]
    answered = send(group_of(stub))
    assert (answered.status, answered.body) == (200, b"all of it")


def cut_off(after: bytes = b"") -> Callable[..., Any]:
    def behaviour(_stub: Any, sock: Any, _request: Any) -> None:
        sock.sendall(after)

    return behaviour


@pytest.mark.parametrize("after", [b"", b"HTTP/1.1 200 OK\r\nContent-", answer()[:-4]])
@pytest.mark.parametrize("kept", [False, True])
def test_a_request_that_is_cut_off_is_sent_again(
    stub: Any, group_of: Callable[..., Any], after: bytes, kept: bool
) -> None:
    group = group_of(stub)
    if kept:
        send(group)
    stub.behaviours = [cut_off(after)]
    assert send(group).body == PREDICTIONS


@pytest.mark.parametrize("framing", [b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_an_answer_whose_head_is_cut_anywhere_is_none(
    stub: Any, group_of: Callable[..., Any], framing: bytes
) -> None:
    """Even where what has come is a status and whole header lines, without saying how long the body would be."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: now\r\n" + framing + b"\r\n"
    group = group_of(stub)
    for end in range(len(head)):
        stub.behaviours = [cut_off(head[:end])]
        assert send(group).body == PREDICTIONS, head[:end]


def test_a_request_that_kills_its_server_is_given_up(stub: Any, group_of: Callable[..., Any]) -> None:
    stub.behaviours = [cut_off()] * 100
    with pytest.raises(ModelServerDown, match="3 times"):
        send(group_of(stub))
    assert len(stub.requests) == 3


def test_nonsense_is_not_an_answer(stub: Any, group_of: Callable[..., Any]) -> None:
    stub.usual = b"SSH-2.0-OpenSSH\r\n\r\n"
    with pytest.raises(ModelServerDown):
        send(group_of(stub))


def test_the_other_instance_takes_over(
    stub: Any, other_stub: Any, group_of: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    group = group_of(stub, other_stub)
    for _ in range(4):
        send(group)
    assert len(stub.requests) == len(other_stub.requests) == 2
    stub.die()
    for _ in range(4):
        assert send(group).body == PREDICTIONS
    assert len(other_stub.requests) == 6
    assert len(caplog.records) == 1  # one event, not one for each request
    assert "model-m-0" in caplog.text


def test_a_request_cut_off_goes_to_the_other_instance(
    stub: Any, other_stub: Any, group_of: Callable[..., Any]
) -> None:
    stub.behaviours = other_stub.behaviours = [cut_off(b"HTTP/1.1 200")]
    assert send(group_of(stub, other_stub)).body == PREDICTIONS
    assert len(stub.requests) == len(other_stub.requests) == 1


def test_the_less_busy_instance_is_chosen(stub: Any, other_stub: Any, group_of: Callable[..., Any]) -> None:
    group = group_of(stub, other_stub)
    busy = gevent.event.Event()
    stub.behaviours = [lambda *_: busy.wait() and answer()] * 2
    first = [gevent.spawn(send, group) for _ in range(2)]
    with gevent.Timeout(30):
        while len(stub.requests) + len(other_stub.requests) < 2:
            gevent.sleep(0.01)
    for _ in range(4):
        send(group)
    assert len(stub.requests) == 1
    assert len(other_stub.requests) == 5
    busy.set()
    gevent.joinall(first, raise_error=True)


def test_waiting_for_the_only_instance(
    stub: Any, group_of: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    group = group_of(stub)
    send(group)
    stub.die()
    waiting = [gevent.spawn(send, group) for _ in range(3)]
    with gevent.Timeout(30):
        while not caplog.records:  # the warning that it is down
            gevent.sleep(0.02)
    stub.start()
    gevent.joinall(waiting, raise_error=True)
    assert [job.value.body for job in waiting] == [PREDICTIONS] * 3
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_the_only_instance_stays_down(stub: Any, group_of: Callable[..., Any]) -> None:
    group = group_of(stub)
    stub.die()
    with pytest.raises(ModelServerDown) as raised:
        send(group, seconds=0.3)
    assert raised.value.status == 503
    assert raised.value.headers == {"Retry-After": "1"}
    assert "'m'" in raised.value.message
    assert "model-m-0" in raised.value.message


def test_giving_up_leaves_no_half_read_connection(stub: Any, group_of: Callable[..., Any]) -> None:
    group = group_of(stub)
    arrived, given_up = Event(), Event()

    def late(*_: Any) -> Any:
        arrived.set()
        given_up.wait(30)
        return answer(b"late")

    stub.behaviours = [late]
    sender = gevent.spawn(send, group)
    assert arrived.wait(30)
    sender.kill()
    given_up.set()
    assert send(group).body == PREDICTIONS
    assert next(iter(group.backends)).outstanding == 0


def test_a_server_that_answers_before_it_has_read_everything(stub: Any, group_of: Callable[..., Any]) -> None:
    """Not what tensorflow_model_server does; a limit on the size would."""
    early = gevent.server.StreamServer(("127.0.0.1", 0), _answer_early)
    early.start()
    stub.die()
    stub.port = early.server_port
    answered = send(group_of(stub), body=b"z" * 5_000_000)
    assert answered.status == 413
    early.stop(timeout=0)
    stub.port = 0


def _answer_early(sock: Any, _address: tuple[Any, ...]) -> None:
    sock.recv(100)
    sock.sendall(answer(b"", "413 Payload Too Large", "Connection: close"))
    sock.shutdown(1)
    while sock.recv(100_000):
        pass
