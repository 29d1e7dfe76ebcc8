"""Both gRPC servers in front of methods that the test controls: statuses, refusals, sizes, what is logged."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from tfsd.model_server.errors import Code, ServingError
from tfsd.model_server.lead import leave
from tfsd.model_server.rpc.http2_server import Http2Server
from tfsd.model_server.rpc.method import IsActive
from tfsd.model_server.rpc.server import GrpcServer

LIMIT = 2


class Methods:
    """`/t.T/Hold` waits for `go`, `/t.T/Echo` answers with the request, `/t.T/Fail` fails as told."""

    def __init__(self) -> None:
        self.holding = threading.Semaphore(0)
        self.go = threading.Event()
        self.failure: Exception = ServingError(Code.NOT_FOUND, "nothing there")
        self.gave_up = threading.Event()
        self.table = {
            "/t.T/Hold": self.hold,
            "/t.T/Echo": self.echo,
            "/t.T/Fail": self.fail,
            "/t.T/Patient": self.patient,
        }

    def hold(self, request: bytes, is_active: IsActive) -> bytes:
        leave()
        self.holding.release()
        assert self.go.wait(30)
        return request

    def echo(self, request: bytes, is_active: IsActive) -> bytes:
        assert is_active()
        return request

    def patient(self, request: bytes, is_active: IsActive) -> bytes:
        leave()
        self.holding.release()
        deadline = time.monotonic() + 30
        while is_active():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.gave_up.set()
        return b""

    def fail(self, request: bytes, is_active: IsActive) -> bytes:
        raise self.failure


@pytest.fixture
def methods() -> Iterator[Methods]:
    methods = Methods()
    yield methods
    methods.go.set()


@pytest.fixture(params=[GrpcServer, Http2Server])
def server(
    request: pytest.FixtureRequest, methods: Methods, tmp_path: Path
) -> Iterator[GrpcServer | Http2Server]:
    server = request.param(methods.table, [f"unix:{tmp_path}/socket"], 1, LIMIT)
    server.start()
    yield server
    methods.go.set()
    server.stop(5)()


@pytest.fixture
def channel(server: GrpcServer | Http2Server, tmp_path: Path) -> Iterator[grpc.Channel]:
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"unix:{tmp_path}/socket", unlimited) as channel:
        yield channel


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
    assert "defect of this server" in caplog.text


@pytest.mark.parametrize("size", [0, 1, 16379, 16384, 70_000, 3_000_000, 20_000_000])
def test_messages_of_any_size(channel: grpc.Channel, size: int) -> None:
    sent = bytes(range(251)) * (size // 251 + 1)
    assert channel.unary_unary("/t.T/Echo")(sent[:size], timeout=60) == sent[:size]


def test_compressed_requests(channel: grpc.Channel) -> None:
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        echo = channel.unary_unary("/t.T/Echo")
        assert echo(b"a" * 5000, timeout=30, compression=compression) == b"a" * 5000


def test_details_that_are_no_ascii_and_metadata(channel: grpc.Channel, methods: Methods) -> None:
    methods.failure = ServingError(Code.ABORTED, "50 % of\n'é' \"ü\"")
    with pytest.raises(grpc.RpcError) as failure:
        channel.unary_unary("/t.T/Fail")(
            b"", timeout=30, metadata=[("x-long", "y" * 5000), ("x-b-bin", b"\xff")]
        )
    assert failure.value.code() is grpc.StatusCode.ABORTED
    assert failure.value.details() == "50 % of\n'é' \"ü\""


def test_a_method_learns_that_its_client_has_gone_or_is_out_of_time(
    channel: grpc.Channel, methods: Methods
) -> None:
    patient = channel.unary_unary("/t.T/Patient")
    call = patient.future(b"", timeout=60)
    assert methods.holding.acquire(timeout=30)
    call.cancel()
    assert methods.gave_up.wait(30)

    methods.gave_up.clear()
    timeout = 0.1
    while not methods.holding.acquire(blocking=False):  # on a busy machine its time is up before it is run
        timeout *= 2
        with pytest.raises(grpc.RpcError) as failure:
            patient(b"", timeout=timeout)
        assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert methods.gave_up.wait(30)
    assert channel.unary_unary("/t.T/Echo")(b"x", timeout=30) == b"x"


def test_what_is_in_flight_is_finished_when_the_server_stops(
    server: GrpcServer | Http2Server, channel: grpc.Channel, methods: Methods, tmp_path: Path
) -> None:
    running = channel.unary_unary("/t.T/Hold").future(b"1", timeout=60)
    assert methods.holding.acquire(timeout=30)
    wait = server.stop(30)
    methods.go.set()
    assert running.result() == b"1"
    wait()
    with grpc.insecure_channel(f"unix:{tmp_path}/socket") as late, pytest.raises(grpc.RpcError) as failure:
        late.unary_unary("/t.T/Echo")(b"", timeout=30)
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("kind", [GrpcServer, Http2Server])
def test_many_calls_on_one_connection_each_get_their_own_answer(
    methods: Methods, tmp_path: Path, kind: type[Any]
) -> None:
    server = kind(methods.table, [f"unix:{tmp_path}/socket"], 4)
    server.start()
    with grpc.insecure_channel(f"unix:{tmp_path}/socket") as channel, ThreadPoolExecutor(16) as pool:
        echo = channel.unary_unary("/t.T/Echo")
        sizes = [(number * 7919) % 90_000 for number in range(400)]
        requests = [number.to_bytes(4, "big") * (size // 4 + 1) for number, size in enumerate(sizes)]
        assert list(pool.map(lambda request: echo(request, timeout=60), requests)) == requests
    server.stop(5)()
