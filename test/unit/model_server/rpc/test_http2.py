"""HTTP/2 as clients of every kind send it: what is read, what is refused, and that nothing else can happen."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hpack import Decoder, Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from tfsd.model_server.lead import leave
from tfsd.model_server.rpc import http2, http2_connection
from tfsd.model_server.rpc.http2 import BadConnection, HeaderReader, frame
from tfsd.model_server.rpc.http2_connection import Call, Connection
from tfsd.model_server.rpc.http2_server import Http2Server
from tfsd.model_server.rpc.method import IsActive

SETTINGS = frame(http2.SETTINGS, 0, 0)
CALL = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/t.T/Echo"),
    (":authority", "a"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
    ("grpc-timeout", "60000m"),
]
END = http2.END_HEADERS


class Client:
    """A client that writes frames by hand."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(path)
        self.encoder, self._decoder, self._buffer = Encoder(), Decoder(), b""

    def send(self, *frames: bytes) -> None:
        self.sock.sendall(b"".join(frames))

    def greet(self) -> None:
        self.send(http2.PREFACE, SETTINGS)

    def headers(self, fields: Any = CALL) -> bytes:
        return self.encoder.encode(fields)

    def next(self) -> tuple[int, int, int, bytes]:
        """Kind, flags, stream and payload of the next frame."""
        while len(self._buffer) < 9 or len(self._buffer) < 9 + int.from_bytes(self._buffer[:3], "big"):
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self._buffer += data
        length = int.from_bytes(self._buffer[:3], "big")
        head, payload = self._buffer[:9], self._buffer[9 : 9 + length]
        self._buffer = self._buffer[9 + length :]
        return head[3], head[4], int.from_bytes(head[5:9], "big"), payload

    def await_kind(self, kind: int) -> tuple[int, int, int, bytes]:
        while (found := self.next())[0] != kind:
            pass
        return found

    def answer(self, stream: int) -> tuple[dict[str, str], bytes]:
        """The trailers and the message of an answer."""
        message = b""
        while True:
            kind, flags, of, payload = self.next()
            if of != stream:
                continue
            if kind == http2.DATA:
                message += payload
            elif kind == http2.HEADERS:
                fields = dict(self._decoder.decode(payload))
                if flags & http2.END_STREAM:
                    return fields, message[5:]  # type: ignore[return-value]  # the decoder's types are wider


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    server = Http2Server({"/t.T/Echo": lambda request, is_active: request}, [f"unix:{tmp_path}/socket"], 2)
    server.start()
    client = Client(f"{tmp_path}/socket")
    yield client
    client.sock.close()
    server.stop(1)()


def data(stream: int, text: bytes, flags: int = http2.END_STREAM) -> bytes:
    return frame(http2.DATA, flags, stream, http2.message_head(len(text)) + text)


def test_how_large_the_headers_of_a_call_may_be() -> None:
    """As HTTP/2 counts them: 32 bytes for each beside its name and value."""
    rest = http2.MAX_HEADER_BLOCK - sum(len(name) + len(value) + 32 for name, value in [*CALL, ("x", "")])
    HeaderReader().read(Encoder().encode([*CALL, ("x", "y" * rest)]))
    with pytest.raises(BadConnection):
        HeaderReader().read(Encoder().encode([*CALL, ("x", "y" * (rest + 1))]))


class Unread:
    """A socket whose other side sends and reads nothing."""

    def __init__(self, *received: bytes) -> None:
        self.received = list(received)

    def recv(self, _: int) -> bytes:
        if not self.received:
            raise BlockingIOError
        return self.received.pop(0)

    def send(self, _: bytes) -> int:
        raise BlockingIOError


def test_how_many_answers_a_client_may_leave_unread() -> None:
    sock: Any = Unread(http2.PREFACE + SETTINGS)
    connection = Connection(sock)
    connection.receive()
    ping = frame(http2.PING, 0, 0, bytes(8))
    for pings in [100] * 99 + [99]:  # and the answer to its settings
        sock.received.append(pings * ping)
        connection.receive()
    sock.received.append(ping)
    with pytest.raises(BadConnection):
        connection.receive()


def test_a_frame_in_many_pieces_is_put_together_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    parse = Connection._parse

    def counted(connection: Connection, data: bytes, complete: list[Call]) -> None:
        parsed.append(len(data))
        parse(connection, data, complete)

    monkeypatch.setattr(Connection, "_parse", counted)
    text = frame(http2.HEADERS, END, 1, Encoder().encode(CALL)) + data(1, b"x" * 10_000)
    sock: Any = Unread(http2.PREFACE, *(text[at : at + 1] for at in range(len(text))))
    connection = Connection(sock)
    calls = []
    while sock.received:
        calls += connection.receive()
    assert [len(part) for call in calls for part in call.body] == [10_000 + http2.MESSAGE_HEAD]
    assert sum(parsed) < 3 * len(text)


def test_a_call_in_every_form_that_frames_may_have(client: Client) -> None:
    client.greet()
    block = client.headers()
    client.send(frame(http2.HEADERS, END, 1, block), data(1, b"plain"))
    assert client.answer(1) == ({"grpc-status": "0"}, b"plain")
    padded = bytes((3,)) + bytes(5) + client.headers() + bytes(3)
    client.send(
        frame(http2.HEADERS, END | http2.PADDED | http2.HAS_PRIORITY, 3, padded),
        frame(http2.PRIORITY, 0, 3, bytes(5)),
        frame(0xF0, 0, 3, b"of an unknown kind"),
        frame(http2.DATA, http2.PADDED, 3, bytes((2,)) + http2.message_head(4) + b"pa" + bytes(2)),
        frame(http2.DATA, http2.END_STREAM, 3, b"rt"),
    )
    assert client.answer(3)[1] == b"part"
    block = client.headers([*CALL, ("x-long", "y" * 100)])
    client.send(
        frame(http2.HEADERS, 0, 5, block[:10]), frame(http2.CONTINUATION, END, 5, block[10:]), data(5, b"c")
    )
    assert client.answer(5)[1] == b"c"


def test_bytes_may_come_one_by_one(client: Client) -> None:
    everything = http2.PREFACE + SETTINGS + frame(http2.HEADERS, END, 1, client.headers()) + data(1, b"slow")
    for byte in everything:
        client.send(bytes((byte,)))
    assert client.answer(1)[1] == b"slow"


def test_pings_are_answered(client: Client) -> None:
    client.greet()
    client.send(frame(http2.PING, 0, 0, b"12345678"))
    assert client.await_kind(http2.PING) == (http2.PING, http2.ACK, 0, b"12345678")


def test_an_answer_waits_for_the_clients_windows(client: Client) -> None:
    small = http2.INITIAL_WINDOW_SIZE.to_bytes(2, "big") + (10).to_bytes(4, "big")
    client.send(http2.PREFACE, frame(http2.SETTINGS, 0, 0, small))
    client.send(frame(http2.HEADERS, END, 1, client.headers()), data(1, b"x" * 30))
    assert len(client.await_kind(http2.DATA)[3]) == 10
    client.send(frame(http2.PING, 0, 0, bytes(8)))
    assert client.next()[0] == http2.PING  # and no more of the answer
    client.send(frame(http2.WINDOW_UPDATE, 0, 1, (1000).to_bytes(4, "big")))
    assert client.answer(1)[0] == {"grpc-status": "0"}


def test_who_does_not_read_holds_up_nobody_else(client: Client, tmp_path: Path) -> None:
    client.greet()
    big = b"x" * 60_000
    for stream in range(1, 201, 2):
        client.send(frame(http2.HEADERS, END, stream, client.headers()), data(stream, big))
    client.send(frame(http2.WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big")))
    # both threads may be writing to this client now; whoever comes is read and refused or served at last
    client.sock.close()
    other = Client(f"{tmp_path}/socket")
    other.greet()
    other.send(frame(http2.HEADERS, END, 1, other.headers()), data(1, b"me"))
    assert other.answer(1)[1] == b"me"
    other.sock.close()


@pytest.mark.parametrize("window", [10, 1 << 30], ids=["of-its-window", "of-its-socket"])
def test_who_reads_nothing_of_an_answer_is_given_up(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(http2_connection, "_PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(http2_connection, "_WAIT_SECONDS", 0.02)
    size = http2.INITIAL_WINDOW_SIZE.to_bytes(2, "big") + window.to_bytes(4, "big")
    client.send(http2.PREFACE, frame(http2.SETTINGS, 0, 0, size))
    client.send(frame(http2.WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big")))
    message = http2.message_head(4 << 20) + bytes(4 << 20)
    pieces = [message[at : at + http2.OUR_FRAME_SIZE] for at in range(0, len(message), http2.OUR_FRAME_SIZE)]
    streams = (1, 3)  # one for each of the server's threads
    for stream in streams:
        client.send(frame(http2.HEADERS, END, stream, client.headers()))
        client.send(*(frame(http2.DATA, 0, stream, piece) for piece in pieces[:-1]))
    # at once, and last: this client is given up soon after
    client.send(*(frame(http2.DATA, http2.END_STREAM, stream, pieces[-1]) for stream in streams))
    other = Client(f"{tmp_path}/socket")
    other.greet()
    other.send(frame(http2.HEADERS, END, 1, other.headers()), data(1, b"me"))
    assert other.answer(1)[1] == b"me"
    other.sock.close()


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(":method", "GET"), *CALL[1:]], "12"),
        ([*CALL[:2], (":path", "/t.T/None"), *CALL[3:]], "12"),
        ([*CALL[:5], ("content-type", "text/plain")], "12"),
        ([*CALL[:6], ("grpc-timeout", "0n")], "4"),
    ],
)
def test_calls_that_cannot_be_made(client: Client, fields: list[Any], status: str) -> None:
    client.greet()
    client.send(frame(http2.HEADERS, END, 1, client.headers(fields)), data(1, b"x"))
    assert client.answer(1)[0]["grpc-status"] == status


@pytest.mark.parametrize("body", [b"", b"\0\0\0\0\5four", b"\0\0\0\0\0" * 2, b"\1\0\0\0\1x"])
def test_bodies_that_are_not_one_message(client: Client, body: bytes) -> None:
    client.greet()
    client.send(frame(http2.HEADERS, END, 1, client.headers()), frame(http2.DATA, http2.END_STREAM, 1, body))
    assert client.answer(1)[0]["grpc-status"] in ("12", "13")


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (frame(http2.HEADERS, END, 2, b"\x88"), http2.PROTOCOL_ERROR),
        (frame(http2.HEADERS, END, 1, b"\xff\xff\xff\xff\xff\x7f"), http2.COMPRESSION_ERROR),
        (frame(http2.CONTINUATION, END, 1, b"\x88"), http2.PROTOCOL_ERROR),
        (frame(http2.HEADERS, 0, 1, b"\x88") + frame(http2.PING, 0, 0, bytes(8)), http2.PROTOCOL_ERROR),
        (
            frame(http2.HEADERS, 0, 1) + frame(http2.CONTINUATION, 0, 1, bytes(70_000)),
            http2.ENHANCE_YOUR_CALM,
        ),
        (frame(http2.DATA, 0, 1, b"x"), http2.PROTOCOL_ERROR),
        (
            frame(http2.HEADERS, END | http2.END_STREAM, 1, b"\x88") + frame(http2.DATA, 0, 1, b"x"),
            http2.STREAM_CLOSED,
        ),
        (frame(http2.HEADERS, END | http2.END_STREAM, 1, b"\x88") * 2, http2.STREAM_CLOSED),
        (frame(http2.PING, 0, 0, b"short"), http2.FRAME_SIZE_ERROR),
        (frame(http2.SETTINGS, 0, 0, b"short"), http2.FRAME_SIZE_ERROR),
        (frame(http2.WINDOW_UPDATE, 0, 0, bytes(4)), http2.PROTOCOL_ERROR),
        (frame(http2.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), http2.FLOW_CONTROL_ERROR),
        (frame(http2.PUSH, 0, 1), http2.PROTOCOL_ERROR),
        (b"\x7f\xff\xff" + bytes(6), http2.FRAME_SIZE_ERROR),
    ],
)
def test_what_breaks_the_rules_ends_the_connection_with_a_reason(
    client: Client, frames: bytes, code: int
) -> None:
    client.greet()
    client.send(frames)
    assert int.from_bytes(client.await_kind(http2.GOAWAY)[3][4:8], "big") == code
    with pytest.raises((EOFError, ConnectionError)):
        client.await_kind(http2.DATA)


def test_a_call_that_is_cancelled_while_it_waits_is_never_run(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()
    ran = []

    def method(request: bytes, is_active: IsActive) -> bytes:
        ran.append(request)
        leave()
        begun.set()
        assert go_on.wait(30)
        return request

    server = Http2Server({"/t.T/Echo": method}, [f"unix:{tmp_path}/socket"], 1)
    server.start()
    client = Client(f"{tmp_path}/socket")
    client.greet()
    client.send(frame(http2.HEADERS, END, 1, client.headers(CALL[:-1])), data(1, b"first"))
    assert begun.wait(30)
    for stream, text in ((3, b"second"), (5, b"third")):
        client.send(frame(http2.HEADERS, END, stream, client.headers(CALL[:-1])), data(stream, text))
    client.send(frame(http2.RST_STREAM, 0, 3, bytes(4)), frame(http2.PING, 0, 0, bytes(8)))
    client.await_kind(http2.PING)
    go_on.set()
    assert client.answer(5)[1] == b"third"
    assert ran == [b"first", b"third"]
    client.sock.close()
    server.stop(1)()


def test_another_protocol_is_turned_away(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    assert client.await_kind(http2.GOAWAY)[0] == http2.GOAWAY


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 10), st.integers(0, 63), st.sampled_from([0, 1, 1, 3]), st.binary(max_size=40)
        ),
        max_size=8,
    ),
    st.lists(st.integers(1, 30), max_size=8),
)
def test_any_frames_in_any_pieces_end_well_or_end_the_connection(frames: list[Any], cuts: list[Any]) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    connection = Connection(ours)
    sent = http2.PREFACE + b"".join(frame(*one) for one in frames)
    try:
        for cut in [*cuts, len(sent)]:
            theirs.sendall(sent[:cut])
            sent = sent[cut:]
            for call in connection.receive():
                connection.answer(call, b"")
    except BadConnection:
        pass
    finally:
        connection.close()
        theirs.close()


@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, None, None, 0, 60, 300, 4096]),  # a new size of the table
            st.lists(
                st.tuples(
                    st.sampled_from(["grpc-timeout", "x-a", "grpc-encoding"]),
                    st.sampled_from(["1S", "20m", "gzip", "other"]),
                    st.booleans(),
                ),
                max_size=4,
            ),
        ),
        max_size=12,
    )
)
def test_what_is_remembered_of_header_blocks_is_what_they_mean(blocks: list[Any]) -> None:
    encoder, reader, plain = Encoder(), HeaderReader(), Decoder()
    for size, fields in blocks:
        if size is not None:
            encoder.header_table_size = size
        block = encoder.encode([*CALL[:6], *fields])
        meant = dict(plain.decode(block, raw=True))
        head = reader.read(block)
        assert head.path == "/t.T/Echo"
        assert head.encoding == meant.get(b"grpc-encoding", b"identity")
        wanted = {b"1S": 1.0, b"20m": 0.02}.get(meant.get(b"grpc-timeout", b""))
        assert head.timeout == wanted


def test_a_block_that_stands_alone_is_decoded_once() -> None:
    """As the workers send them."""
    reader = HeaderReader()
    alone = Encoder().encode([(name, value, True) for name, value in CALL])  # never to be indexed
    head = reader.read(alone)
    assert head.path == "/t.T/Echo"
    assert reader.read(alone) is head
    reader.read(Encoder().encode([*CALL, ("x", "y")]))
    assert reader.read(alone) is not head
