"""The gRPC server in front of methods that the test controls: statuses, refusals, what is logged."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import pytest

from tfsd.model_server.errors import Code, ServingError
from tfsd.model_server.rpc.method import IsActive
from tfsd.model_server.rpc.server import GrpcServer

LIMIT = 2


class Methods:
    """`/t.T/Hold` waits for `go`, `/t.T/Echo` answers with the request, `/t.T/Fail` fails as told."""

    def __init__(self) -> None:
        self.holding = threading.Semaphore(0)
        self.go = threading.Event()
        self.failure: Exception = ServingError(Code.NOT_FOUND, "nothing there")
        self.table = {"/t.T/Hold": self.hold, "/t.T/Echo": self.echo, "/t.T/Fail": self.fail}

    def hold(self, request: bytes, is_active: IsActive) -> bytes:
        self.holding.release()
        assert self.go.wait(30)
        return request

    def echo(self, request: bytes, is_active: IsActive) -> bytes:
        assert is_active()
        return request

    def fail(self, request: bytes, is_active: IsActive) -> bytes:
        raise self.failure


@pytest.fixture
def methods() -> Iterator[Methods]:
    methods = Methods()
    yield methods
    methods.go.set()


@pytest.fixture
def channel(methods: Methods, tmp_path) -> Iterator[grpc.Channel]:
    address = f"unix:{tmp_path}/socket"
    server = GrpcServer(methods.table, [address], threads=1, limit=LIMIT)
    server.start()
    with grpc.insecure_channel(address) as channel:
        yield channel
    methods.go.set()
    server.stop(5)()


def status(channel: grpc.Channel, path: str) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as failure:
        channel.unary_unary(path)(b"x", timeout=30)
    return failure.value.code(), failure.value.details()


def test_more_calls_than_the_limit_are_refused_at_once(channel: grpc.Channel, methods: Methods) -> None:
    hold = channel.unary_unary("/t.T/Hold")
    running = hold.future(b"1", timeout=30)
    assert methods.holding.acquire(timeout=30)
    waiting = hold.future(b"2", timeout=30)
    refused = (grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
    while status(channel, "/t.T/Fail") != refused:  # until the second call has arrived
        assert not running.done()
    assert status(channel, "/t.T/Echo") == refused
    methods.go.set()
    assert (running.result(), waiting.result()) == (b"1", b"2")
    assert status(channel, "/t.T/Fail") == (grpc.StatusCode.NOT_FOUND, "nothing there")


def test_statuses(channel: grpc.Channel, methods: Methods, caplog: pytest.LogCaptureFixture) -> None:
    assert channel.unary_unary("/t.T/Echo")(b"abc", timeout=30) == b"abc"
    assert status(channel, "/t.T/Nothing")[0] is grpc.StatusCode.UNIMPLEMENTED
    methods.failure = ServingError(Code.INVALID_ARGUMENT, "ä" * 600)
    text = "ä" * 512 + "...TRUNCATED"
    assert status(channel, "/t.T/Fail") == (grpc.StatusCode.INVALID_ARGUMENT, text)
    assert caplog.text == ""
    methods.failure = ValueError("a fault")
    assert status(channel, "/t.T/Fail") == (grpc.StatusCode.INTERNAL, "ValueError: a fault")
    assert "fault of this server" in caplog.text
