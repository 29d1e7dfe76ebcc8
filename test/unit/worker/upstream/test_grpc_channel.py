"""The worker's gRPC channel against gRPC's own server and the embedded model server's: what a caller sees."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gevent
import grpc
import pytest

from tfsd.model_server.errors import Code, ServingError
from tfsd.model_server.rpc.http2_server import Http2Server
from tfsd.plan import MAX_GRPC_CALLS, ModelServer
from tfsd.worker.upstream.grpc_call import CallFailed
from tfsd.worker.upstream.grpc_channel import Channel
from tfsd.worker.upstream.sockets import connected

ODD_TEXT = "kein Zugriff: 100 % »ä«\nline two"


class Core:
    """gRPC's server, at a port or a unix socket. `/t.T/Echo`, `/t.T/Fail`, `/t.T/Patient` (until the client gives up),
    `/t.T/Metadata`, `/t.T/Held` (until `released`)."""

    def __init__(self, port: int = 0, path: Path | None = None) -> None:
        self.gave_up, self.released = threading.Event(), threading.Event()
        self.under_way = self.most = self.calls = 0
        self.lock = threading.Lock()
        self.timeouts: list[float | None] = []
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ]
        self._server = grpc.server(ThreadPoolExecutor(2 * MAX_GRPC_CALLS), [self], options=options)
        self.port = self._server.add_insecure_port(f"unix:{path}" if path else f"127.0.0.1:{port}")
        self._server.start()

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        method = getattr(self, call.method.rpartition("/")[2].lower(), None)
        if call.method.endswith("Stream"):
            return grpc.unary_stream_rpc_method_handler(lambda request, _: iter([request, request]))
        return method and grpc.unary_unary_rpc_method_handler(method)

    def echo(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        with self.lock:
            self.calls += 1
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        self.timeouts.append(context.time_remaining())
        if request == b"slow":
            time.sleep(0.02)
        with self.lock:
            self.under_way -= 1
        return request

    def fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.calls += 1
        context.set_trailing_metadata((("why", "so"), ("raw-bin", b"\x00\xff")))
        context.abort(grpc.StatusCode[request.decode()], ODD_TEXT)
        return b""

    def held(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        with self.lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        self.released.wait(30)
        with self.lock:
            self.under_way -= 1
        return request

    def patient(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        deadline = time.monotonic() + 30
        while context.is_active() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.gave_up.set()
        return b""

    def metadata(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.send_initial_metadata((("initial", "one"),))
        context.set_trailing_metadata((("trailing-bin", b"\x01\x02\x03"),))
        sent = sorted((key, value) for key, value in context.invocation_metadata() if key.startswith("x-"))
        return repr(sent).encode()

    def stop(self) -> None:
        self._server.stop(0).wait()


class Embedded:
    """The embedded model server's, with the first two methods."""

    def __init__(self, port: int) -> None:
        self.port = port
        methods = {"/t.T/Echo": lambda request, _: request, "/t.T/Fail": self.fail}
        self._server = Http2Server(methods, [f"127.0.0.1:{port}"], 4)
        self._server.start()

    def fail(self, request: bytes, _: Any) -> bytes:
        raise ServingError(Code[request.decode()], ODD_TEXT)

    def stop(self) -> None:
        self._server.stop(1)()


@pytest.fixture
def core() -> Iterator[Core]:
    server = Core()
    yield server
    server.stop()


@pytest.fixture(params=["core", "embedded"])
def server(request: pytest.FixtureRequest, free_port: int) -> Iterator[Any]:
    server = Core() if request.param == "core" else Embedded(free_port)
    yield server
    server.stop()


@pytest.fixture
def channel_to() -> Iterator[Callable[..., Channel]]:
    made: list[Channel] = []

    def connect(*servers: Any, **options: Any) -> Channel:
        planned = [ModelServer(f"model-{n}", 0, server.port) for n, server in enumerate(servers)]
        made.append(Channel(planned, **options))
        return made[-1]

    yield connect
    for channel in made:
        channel.close()


@pytest.fixture
def by_socket(short_dir: Path) -> Iterator[Core]:
    server = Core(path=short_dir / "s")
    yield server
    server.stop()


class TestSockets:
    """A model server may have a unix socket, a port, or both."""

    def test_a_socket_is_preferred_to_a_port(self, core: Core, by_socket: Core, short_dir: Path) -> None:
        message = bytes(20_000_000)
        with Channel([ModelServer("both", 0, core.port, str(short_dir / "s"))]) as channel:
            assert channel.unary_unary("/t.T/Echo")(message, timeout=50) == message
        assert (by_socket.calls, core.calls) == (1, 0)

    def test_a_port_is_taken_where_no_socket_was_made(self, core: Core, short_dir: Path) -> None:
        with Channel([ModelServer("old", 0, core.port, str(short_dir / "none"))]) as channel:
            assert channel.unary_unary("/t.T/Echo")(b"x", timeout=20) == b"x"

    def test_grpc_s_own_channel_prefers_ports(self, core: Core, short_dir: Path) -> None:
        """It takes a name of many ports."""
        servers = [ModelServer(f"m-{n}", 0, core.port, str(short_dir / "none")) for n in range(2)]
        with Channel(servers) as channel:
            assert list(channel.unary_stream("/t.T/Stream")(b"s", timeout=20)) == [b"s", b"s"]

    def test_grpc_s_own_channel_takes_a_socket_where_there_is_no_port(
        self, by_socket: Core, short_dir: Path
    ) -> None:
        servers = [ModelServer(f"m-{n}", 0, 0, str(short_dir / "s")) for n in range(2)]
        with Channel(servers) as channel:
            assert list(channel.unary_stream("/t.T/Stream")(b"s", timeout=20)) == [b"s", b"s"]
            assert channel.unary_unary("/t.T/Echo")(b"x", timeout=20) == b"x"

    def test_more_than_the_kernel_s_default_may_wait_there(self, by_socket: Core, short_dir: Path) -> None:
        with connected(str(short_dir / "s"), 20) as sock, socket.socket(socket.AF_UNIX) as usual:
            sizes = [each.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) for each in (sock, usual)]
        assert sizes[0] > sizes[1]


class Away:
    """Where no server is."""

    def __init__(self, port: int) -> None:
        self.port = port


@pytest.mark.parametrize("size", [0, 1, 1000, 16_379, 16_380, 65_530, 70_000, 1_000_000, 40_000_000])
def test_messages_of_any_size(server: Any, channel_to: Callable[..., Channel], size: int) -> None:
    call = channel_to(server).unary_unary("/t.T/Echo")
    message = bytes(range(256)) * (size // 256) + b"e" * (size % 256)
    for _ in range(2):
        assert call(message, timeout=50) == message


def test_a_method_that_is_asked_for_again_keeps_to_the_codecs_of_each(core: Core) -> None:
    with Channel([ModelServer("core", 0, core.port)]) as channel:
        plain, upper = (
            channel.unary_unary("/t.T/Echo", str.encode, codec) for codec in (bytes.decode, bytes.upper)
        )
        assert (plain("x"), upper("x")) == ("x", b"X")
        assert channel.unary_unary("/t.T/Echo", str.encode, bytes.upper) is upper


def test_hundreds_of_megabytes_over_one_connection(
    core: Core, channel_to: Callable[..., Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The windows are topped up in time."""
    monkeypatch.setattr("tfsd.worker.upstream.grpc_connection.TOP_UP_BYTES", 1 << 20)
    monkeypatch.setattr("tfsd.worker.upstream.http2.GREETING", GREETING_WITH_SMALL_WINDOWS)
    call = channel_to(core).unary_unary("/t.T/Echo")
    message = b"w" * 20_000_000
    for _ in range(3):
        assert call(message, timeout=50) == message


GREETING_WITH_SMALL_WINDOWS = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + bytes((0, 0, 12, 4, 0, 0, 0, 0, 0))
    + bytes((0, 1, 0, 0, 0, 0))
    + bytes((0, 4, 0, 0x20, 0, 0))  # a stream's window: 2 MB
    + bytes((0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0x20, 0, 0))  # the connection's
)


def test_serializers_are_used(server: Any, channel_to: Callable[..., Channel]) -> None:
    call = channel_to(server).unary_unary("/t.T/Echo", str.encode, bytes.decode)
    assert call("ä", timeout=20) == "ä"
    with pytest.raises(grpc.RpcError, match="serializing request"):
        call(b"no str", timeout=20)
    strict = channel_to(server).unary_unary("/t.T/Echo", None, lambda _: 1 / 0)
    with pytest.raises(grpc.RpcError, match="deserializing response"):
        strict(b"", timeout=20)


@pytest.mark.parametrize(
    "code", ["INVALID_ARGUMENT", "NOT_FOUND", "INTERNAL", "RESOURCE_EXHAUSTED", "UNAVAILABLE"]
)
def test_a_failed_call(server: Any, channel_to: Callable[..., Channel], code: str) -> None:
    call = channel_to(server).unary_unary("/t.T/Fail")
    with pytest.raises(grpc.RpcError) as raised:
        call(code.encode(), timeout=20)
    failed = raised.value
    assert isinstance(failed, grpc.Call)
    assert isinstance(failed, grpc.Future)
    assert (failed.code(), failed.details()) == (grpc.StatusCode[code], ODD_TEXT)
    assert code in str(failed)
    assert failed.exception() is failed
    assert failed.done()
    assert not failed.is_active()


def test_unavailable_is_tried_again(core: Core, channel_to: Callable[..., Channel]) -> None:
    with pytest.raises(grpc.RpcError):
        channel_to(core).unary_unary("/t.T/Fail")(b"UNAVAILABLE", timeout=20)
    assert core.calls == 3


def test_an_unknown_method(server: Any, channel_to: Callable[..., Channel]) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        channel_to(server).unary_unary("/t.T/None")(b"", timeout=20)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_metadata_both_ways(core: Core, channel_to: Callable[..., Channel]) -> None:
    call = channel_to(core).unary_unary("/t.T/Metadata")
    response, ended = call.with_call(b"", metadata=[("x-a", "1"), ("x-b-bin", b"\0\xff")], timeout=20)
    assert response == b"[('x-a', '1'), ('x-b-bin', b'\\x00\\xff')]"
    assert ended.initial_metadata() == (("initial", "one"),)
    assert ended.trailing_metadata() == (("trailing-bin", b"\1\2\3"),)
    assert (ended.code(), ended.details()) == (grpc.StatusCode.OK, "")
    with pytest.raises(grpc.RpcError) as raised:
        channel_to(core).unary_unary("/t.T/Fail")(b"ABORTED", timeout=20)
    assert raised.value.trailing_metadata() == (("why", "so"), ("raw-bin", b"\0\xff"))


@pytest.mark.parametrize(
    "entry", [("Big", "x"), ("a b", "x"), ("a", "li\nne"), ("grpc-own", "x"), ("a", "ä")]
)
def test_metadata_that_http_does_not_allow(
    core: Core, channel_to: Callable[..., Channel], entry: tuple[str, str]
) -> None:
    with pytest.raises(ValueError, match="metadata was invalid"):
        channel_to(core).unary_unary("/t.T/Echo")(b"", metadata=[entry], timeout=20)


def test_a_deadline(core: Core, channel_to: Callable[..., Channel]) -> None:
    call = channel_to(core).unary_unary("/t.T/Patient")
    with pytest.raises(grpc.RpcError) as raised:
        call(b"", timeout=0.1)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert core.gave_up.wait(20)
    for timeout in (0, -1):
        with pytest.raises(grpc.RpcError) as raised:
            call(b"", timeout=timeout)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_the_server_is_told_the_deadline(core: Core, channel_to: Callable[..., Channel]) -> None:
    call = channel_to(core).unary_unary("/t.T/Echo")
    call(b"", timeout=58.7)
    call(b"")
    first, second = core.timeouts
    assert first is not None
    assert 30 < first <= 60
    assert second is None or second > 1e6


def test_a_limit_of_the_caller_s_own_is_no_deadline(core: Core, channel_to: Callable[..., Channel]) -> None:
    call = channel_to(core).unary_unary("/t.T/Patient")
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
        call(b"", timeout=50)
    assert core.gave_up.wait(20)  # the call is cancelled at the server


def test_calls_beyond_the_limit_wait_their_turn(core: Core, channel_to: Callable[..., Channel]) -> None:
    channel = channel_to(core, calls=4)
    call, fail = channel.unary_unary("/t.T/Echo"), channel.unary_unary("/t.T/Fail")

    def once(number: int) -> Any:
        if number % 4 == 1:
            return call.with_call(b"slow", timeout=50)[0]
        if number % 4 == 2:
            return call.future(b"slow", timeout=50).result()
        if number % 4 == 3:
            with pytest.raises(grpc.RpcError):
                fail(b"ABORTED", timeout=50)
            return b"failed"
        return call(b"slow", timeout=50)

    jobs = [gevent.spawn(once, number) for number in range(64)]
    gevent.joinall(jobs, raise_error=True)
    assert sorted({job.value for job in jobs}) == [b"failed", b"slow"]
    assert core.most <= 4


def test_as_many_calls_as_there_may_be(core: Core, channel_to: Callable[..., Channel]) -> None:
    call = channel_to(core).unary_unary("/t.T/Held")
    jobs = [gevent.spawn(call, b"x", timeout=50) for _ in range(MAX_GRPC_CALLS + 32)]
    try:
        with gevent.Timeout(30):
            while core.under_way < MAX_GRPC_CALLS:
                gevent.sleep(0.02)
    finally:
        core.released.set()
    gevent.joinall(jobs, raise_error=True)
    assert core.most == MAX_GRPC_CALLS


class TestFuture:
    def test_its_result(self, core: Core, channel_to: Callable[..., Channel]) -> None:
        ended: list[Any] = []
        future = channel_to(core).unary_unary("/t.T/Echo").future(b"later", timeout=20)
        future.add_done_callback(ended.append)
        assert future.running()
        assert 0 < future.time_remaining() <= 20
        assert future.result(timeout=20) == b"later"
        assert future.exception() is None
        assert future.code() is grpc.StatusCode.OK
        assert not future.cancel()
        assert ended == [future]
        future.add_done_callback(ended.append)
        assert len(ended) == 2

    def test_its_failure(self, core: Core, channel_to: Callable[..., Channel]) -> None:
        future = channel_to(core).unary_unary("/t.T/Fail").future(b"NOT_FOUND", timeout=20)
        assert future.code() is grpc.StatusCode.NOT_FOUND
        assert future.details() == ODD_TEXT
        assert future.exception() is not None
        with pytest.raises(grpc.RpcError) as raised:
            future.result()
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND

    def test_waiting_for_it_may_be_limited(self, core: Core, channel_to: Callable[..., Channel]) -> None:
        future = channel_to(core).unary_unary("/t.T/Patient").future(b"")
        with pytest.raises(grpc.FutureTimeoutError):
            future.result(timeout=0.05)
        assert future.cancel()

    def test_it_may_be_cancelled(self, core: Core, channel_to: Callable[..., Channel]) -> None:
        ended: list[Any] = []
        future = channel_to(core).unary_unary("/t.T/Patient").future(b"", timeout=50)
        future.add_done_callback(ended.append)
        gevent.sleep(0.1)
        assert future.cancel()
        assert future.cancelled()
        assert future.done()
        assert ended == [future]
        assert future.code() is grpc.StatusCode.CANCELLED
        with pytest.raises(grpc.FutureCancelledError):
            future.result()
        while not core.gave_up.is_set():
            gevent.sleep(0.01)

    def test_cancelled_before_it_began(self, core: Core, channel_to: Callable[..., Channel]) -> None:
        future = channel_to(core).unary_unary("/t.T/Echo").future(b"")
        assert future.cancel()
        assert future.code() is grpc.StatusCode.CANCELLED
        gevent.sleep(0.01)
        assert core.calls == 0


def test_an_interceptor_of_grpc_s(core: Core, channel_to: Callable[..., Channel]) -> None:
    seen = []

    class Interceptor(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            outcome = continuation(details, request)
            seen.append(outcome.code())
            return outcome

    channel = grpc.intercept_channel(channel_to(core), Interceptor())
    assert channel.unary_unary("/t.T/Echo")(b"through", timeout=20) == b"through"
    with pytest.raises(grpc.RpcError):
        channel.unary_unary("/t.T/Fail")(b"ABORTED", timeout=20)
    assert channel.unary_unary("/t.T/Echo").future(b"later", timeout=20).result() == b"later"
    assert [code.name for code in seen[:2]] == ["OK", "ABORTED"]


def test_what_is_no_plain_unary_call_takes_grpc_s_own_channel(
    core: Core, channel_to: Callable[..., Channel]
) -> None:
    channel = channel_to(core)
    assert list(channel.unary_stream("/t.T/Stream")(b"s", timeout=20)) == [b"s", b"s"]
    call = channel.unary_unary("/t.T/Echo")
    assert call(b"squeezed" * 100, timeout=20, compression=grpc.Compression.Gzip) == b"squeezed" * 100
    assert call.future(b"squeezed", timeout=20, compression=grpc.Compression.Gzip).result() == b"squeezed"
    grpc.channel_ready_future(channel).result(20)


def test_connections_are_kept(core: Core, channel_to: Callable[..., Channel]) -> None:
    channel = channel_to(core)
    call = channel.unary_unary("/t.T/Echo")
    ports = set()
    for _ in range(5):
        call(b"", timeout=20)
        (backend,) = channel._backends
        ((idle,),) = backend._idle.values()
        ports.add(idle._socket.getsockname())
    assert len(ports) == 1


def test_a_server_that_is_restarted(free_port: int, channel_to: Callable[..., Channel]) -> None:
    first = Core(free_port)
    call = channel_to(first).unary_unary("/t.T/Echo")
    assert call(b"1", timeout=20) == b"1"
    first.stop()
    waiting = gevent.spawn(call, b"2", timeout=50)
    gevent.sleep(0.2)
    assert not waiting.ready()
    second = Core(free_port)
    try:
        assert waiting.get() == b"2"
    finally:
        second.stop()


def test_the_instances_take_turns_and_one_that_is_away_is_passed_by(
    core: Core, free_port: int, channel_to: Callable[..., Channel]
) -> None:
    other = Core()
    try:
        call = channel_to(core, other).unary_unary("/t.T/Echo")
        for _ in range(10):
            call(b"", timeout=20)
        assert (core.calls, other.calls) == (5, 5)
        call = channel_to(Away(free_port), core).unary_unary("/t.T/Echo")
        for _ in range(4):
            call(b"", timeout=20)
    finally:
        other.stop()
    assert core.calls == 9


def test_a_server_that_stays_away(free_port: int, channel_to: Callable[..., Channel]) -> None:
    call = channel_to(Away(free_port)).unary_unary("/t.T/Echo")
    for options, code in (
        ({"timeout": 0.2}, "DEADLINE_EXCEEDED"),
        ({"timeout": 20, "wait_for_ready": False}, "UNAVAILABLE"),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            call(b"", **options)
        assert raised.value.code().name == code
    assert "model-0" in raised.value.details()
    impatient = channel_to(Away(free_port), wait=False).unary_unary("/t.T/Echo")
    with pytest.raises(CallFailed) as failed:
        impatient(b"")
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_thread_of_its_own_has_connections_of_its_own(
    core: Core, channel_to: Callable[..., Channel]
) -> None:
    """A socket of gevent's belongs to the event loop of the thread that made it."""
    call = channel_to(core).unary_unary("/t.T/Echo")
    assert call(b"here", timeout=20) == b"here"
    assert gevent.get_hub().threadpool.spawn(call, b"there", timeout=20).get() == b"there"
    assert call(b"here", timeout=20) == b"here"


def test_a_closed_channel(core: Core, channel_to: Callable[..., Channel]) -> None:
    with channel_to(core) as channel:
        call = channel.unary_unary("/t.T/Echo")
        call(b"", timeout=20)
    with pytest.raises(ValueError, match="closed channel"):
        call(b"")
