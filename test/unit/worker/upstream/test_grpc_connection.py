"""One HTTP/2 connection against servers that send what they like: frames cut anywhere, small windows, nonsense."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from support.arriving import arriving
from tfsd import incoming
from tfsd.incoming import BodyGone, Remainder
from tfsd.worker.upstream import http2
from tfsd.worker.upstream.backend import Piece
from tfsd.worker.upstream.connection import CutOff
from tfsd.worker.upstream.grpc_answer import Answer
from tfsd.worker.upstream.grpc_connection import ONE_WRITE_BYTES, GrpcConnection
from tfsd.worker.upstream.http2 import frame

OK_HEAD = [(":status", "200"), ("content-type", "application/grpc")]
OK_END = [("grpc-status", "0")]
FIELDS = http2.call_fields("/t.T/Echo", b"")
END = http2.END_HEADERS


class Script:
    """A socket whose other side is written down: `replies` are what it sends, one for each time it is read."""

    def __init__(self, *replies: bytes) -> None:
        self.replies = list(replies)
        self.sent = b""

    def sendall(self, data: Any) -> None:
        self.sent += bytes(data)

    def send(self, data: bytes) -> int:
        self.sendall(data)
        return len(data)

    def sendmsg(self, parts: list[Any]) -> int:
        self.sendall(b"".join(parts))
        return sum(map(len, parts))

    def recv(self, most: int) -> bytes:
        if not self.replies:
            return b""
        reply = self.replies.pop(0)
        if len(reply) > most:
            self.replies.insert(0, reply[most:])
        return reply[:most]

    def recv_into(self, view: memoryview) -> int:
        data = self.recv(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.replies = []


def block(fields: list[tuple[str, str]]) -> bytes:
    """As a server encodes it that was told to keep no table."""
    encoder = Encoder()
    encoder.header_table_size = 0
    return encoder.encode(fields)


def headers(fields: list[tuple[str, str]], stream: int = 1, last: bool = False) -> bytes:
    return frame(http2.HEADERS, END | (http2.END_STREAM if last else 0), stream, block(fields))


def data(payload: bytes, stream: int = 1, flags: int = 0) -> bytes:
    return frame(http2.DATA, flags, stream, payload)


def message(body: bytes) -> bytes:
    return http2.MESSAGE_HEAD.pack(0, len(body)) + body


def whole(body: bytes, stream: int = 1) -> bytes:
    """An answer of OK."""
    return headers(OK_HEAD, stream) + data(message(body), stream) + headers(OK_END, stream, last=True)


def exchange(*replies: bytes, body: bytes = b"request") -> Answer:
    return GrpcConnection(Script(*replies)).exchange(FIELDS, body)


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    """The data in pieces, cut at those places."""
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return (data[start:end] for start, end in itertools.pairwise(edges) if start < end)


@given(
    st.binary(max_size=400_000) | st.integers(0, 400_000).map(bytes),
    st.lists(st.integers(1, 70_000), max_size=5),
    st.lists(st.integers(0, 2**30), max_size=8),
)
def test_an_answer_means_the_same_however_it_is_cut(body: bytes, frames: list[int], reads: list[int]) -> None:
    """`frames` are the sizes of DATA frames, the rest of the message is one; `reads` is where reads end."""
    rest, parts = message(body), []
    for size in frames:
        parts.append(data(rest[:size]))
        rest = rest[size:]
    sent = b"".join((headers(OK_HEAD), *parts, data(rest), headers(OK_END, last=True)))
    answer = exchange(*cut(sent, reads))
    assert (answer.status, answer.message) == (http2.OK, body)


@given(
    st.lists(
        st.tuples(
            st.binary(max_size=300),
            st.sampled_from([OK_HEAD, [*OK_HEAD, ("a", "1")]]),
            st.sampled_from([OK_END, [*OK_END, ("b", "2")], [("grpc-status", "5")]]),
            st.sampled_from([b"", frame(http2.PING, 0, 0, b"12345678")]),
            st.lists(st.integers(0, 2**30), max_size=2),
        ),
        max_size=6,
    )
)
def test_answers_on_one_connection_are_those_of_their_calls(
    sent: list[tuple[bytes, list[Any], list[Any], bytes, list[int]]],
) -> None:
    """Whether or not one has the headers of the last one, comes in one piece, and alone."""
    script = Script()
    connection = GrpcConnection(script)
    for number, (body, head, end, other, reads) in enumerate(sent):
        stream = 2 * number + 1
        reply = headers(head, stream) + data(message(body), stream) + headers(end, stream, last=True)
        script.replies += cut(reply + other, reads)
        answer = connection.exchange(FIELDS, b"")
        assert answer.message == body
        assert answer.initial == tuple(head[2:])
        assert (answer.status, answer.trailing) == (int(end[0][1]), tuple(end[1:]))


@given(replies=st.lists(st.binary(max_size=200) | st.builds(
    frame, st.integers(0, 10), st.integers(0, 255), st.integers(0, 3), st.binary(max_size=40)
), max_size=8))  # fmt: skip
@pytest.mark.parametrize("before", [0, 1], ids=["new", "kept"])
def test_whatever_comes_the_call_ends(before: int, replies: list[bytes]) -> None:
    """In an answer or in CutOff, nothing else."""
    stream = 2 * before + 1
    connection = GrpcConnection(Script(*before * [whole(b"1")], headers(OK_HEAD, stream), *replies))
    for _ in range(before):
        connection.exchange(FIELDS, b"")
    try:
        answer = connection.exchange(FIELDS, b"")
    except CutOff:
        return
    assert answer.status is not None


class Strict:
    """A server that gives leave to send in small pieces, and sees to it that the client keeps to it."""

    def __init__(self, first: int, frame_size: int, updates: list[int]) -> None:
        self.received = b""  # DATA of the stream
        self.ended = False
        self.frame_size = http2.DEFAULT_FRAME
        self._wanted_frame_size = frame_size
        self._window = self._stream_window = http2.DEFAULT_WINDOW
        self._first = first
        self._updates = updates
        self._buffer = b""
        self._out = b""
        self._preface = len(http2.PREFACE)
        self._told = False

    def sendall(self, data: Any) -> None:
        self._buffer += bytes(data)
        if self._preface:
            assert self._buffer.startswith(http2.PREFACE)
            self._buffer, self._preface = self._buffer[len(http2.PREFACE) :], 0
        while len(self._buffer) >= 9:
            length = int.from_bytes(self._buffer[:3], "big")
            kind, flags, payload = self._buffer[3], self._buffer[4], self._buffer[9 : 9 + length]
            if len(payload) < length:
                break
            assert length <= self.frame_size
            self._buffer = self._buffer[9 + length :]
            if kind == http2.SETTINGS and flags & http2.ACK:
                self.frame_size = self._wanted_frame_size
            if kind == http2.DATA:
                self._window -= length
                self._stream_window -= length
                assert min(self._window, self._stream_window) >= 0
                self.received += payload
                self.ended = bool(flags & http2.END_STREAM)

    def send(self, data: bytes) -> int:
        self.sendall(data)
        return len(data)

    def sendmsg(self, parts: list[Any]) -> int:
        self.sendall(b"".join(parts))
        return sum(map(len, parts))

    def recv(self, most: int) -> bytes:
        if self.ended:
            return whole(self.received[5:])
        out = b""
        if not self._told:
            self._told = True
            self._stream_window += self._first - http2.DEFAULT_WINDOW
            out = http2.settings(
                [(http2.INITIAL_WINDOW_SIZE, self._first), (http2.MAX_FRAME_SIZE, self._wanted_frame_size)]
            )
        more = self._updates.pop() if self._updates else 1 << 20
        self._window += more
        self._stream_window += more
        return (
            out
            + frame(http2.WINDOW_UPDATE, 0, 0, more.to_bytes(4, "big"))
            + frame(http2.WINDOW_UPDATE, 0, 1, more.to_bytes(4, "big"))
        )

    def recv_into(self, view: memoryview) -> int:
        raise AssertionError

    def close(self) -> None:
        pass


@given(
    st.integers(0, 200_000).map(lambda size: b"w" * size),
    st.integers(0, 100_000),
    st.integers(http2.DEFAULT_FRAME, 100_000),
    st.lists(st.integers(1, 50_000), max_size=10),
)
def test_no_more_is_sent_than_the_server_allows(
    body: bytes, first: int, frame_size: int, updates: list[int]
) -> None:
    server = Strict(first, frame_size, updates)
    if len(body) + 5 <= http2.DEFAULT_WINDOW:
        first = http2.DEFAULT_WINDOW  # it has been sent before the server has said anything
    answer = GrpcConnection(server).exchange(FIELDS, body)
    assert server.received == message(body)
    assert answer.status == http2.OK


@given(
    st.integers(ONE_WRITE_BYTES, 300_000),
    st.integers(1, 20_000),
    st.integers(0, 400_000),
    st.integers(http2.DEFAULT_FRAME, 100_000),
    st.lists(st.integers(1, 50_000), max_size=10),
)
def test_a_body_that_is_arriving_is_sent_as_one_that_is_there(
    size: int, begun: int, first: int, frame_size: int, updates: list[int]
) -> None:
    body = (b"0123456" * 50_000)[:size]
    with pytest.MonkeyPatch.context() as patched, arriving(body, begun) as coming:
        patched.setattr(incoming, "_splices", lambda: False)  # for the server is none of the kernel's
        server = Strict(first, frame_size, updates)
        answer = GrpcConnection(server).exchange(FIELDS, [b"head", Remainder(coming, begun // 2)])
    assert server.received == message(b"head" + body[begun // 2 :])
    assert answer.status == http2.OK


class Closed(Script):
    """A kept connection whose server has ended meanwhile."""

    def sendmsg(self, parts: list[Any]) -> int:
        raise BrokenPipeError


def test_a_body_that_is_arriving_is_sent_again_until_some_of_it_was_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(incoming, "_splices", lambda: False)
    with arriving(bytes(300_000), 100) as coming:
        pieces: list[Piece] = [b"head", Remainder(coming, 0)]
        for server in (Closed(), Closed(), Script(frame(http2.SETTINGS, 0, 0))):
            with pytest.raises(CutOff):
                GrpcConnection(server).exchange(FIELDS, pieces)
        with pytest.raises(BodyGone):
            GrpcConnection(Script()).exchange(FIELDS, pieces)


def test_the_next_call_has_the_next_stream() -> None:
    script = Script(whole(b"1"), whole(b"2", stream=3))
    connection = GrpcConnection(script)
    assert [connection.exchange(FIELDS, b"").message for _ in range(2)] == [b"1", b"2"]
    assert connection.reusable
    assert script.sent.startswith(http2.GREETING)
    assert script.sent.count(http2.PREFACE) == 1


def kept(*replies: bytes) -> GrpcConnection:
    """A connection that has had an answer; what it is sent next is of stream 3."""
    connection = GrpcConnection(Script(whole(b"1"), *replies))
    connection.exchange(FIELDS, b"")
    return connection


def test_a_connection_that_is_kept_keeps_nothing_of_an_answer() -> None:
    connection = kept(whole(b"2" * 100_000, 3))
    answer = connection.exchange(FIELDS, b"")
    left = weakref.ref(answer)
    del answer
    assert connection.reusable
    assert left() is None


def test_an_answer_that_differs_from_the_last_one_in_a_byte_of_its_end() -> None:
    reply = headers(OK_HEAD, 3) + data(message(b"2"), 3) + headers([("grpc-status", "5")], 3, last=True)
    assert len(reply) == len(whole(b"2", 3))
    answer = kept(reply).exchange(FIELDS, b"")
    assert (answer.status, answer.message) == (5, b"2")


def test_an_answer_after_the_stream_was_reset_is_nobody_s() -> None:
    answer = kept(frame(http2.RST_STREAM, 0, 3, bytes((0, 0, 0, 8))) + whole(b"2", 3)).exchange(FIELDS, b"")
    assert (answer.status, answer.message) == (http2.CANCELLED, None)


def test_a_second_answer_to_one_call() -> None:
    with pytest.raises(CutOff, match="more than one message"):
        kept(headers(OK_HEAD, 3) + data(message(b"2"), 3), whole(b"3", 3)).exchange(FIELDS, b"")


def test_an_answer_within_a_header_block() -> None:
    with pytest.raises(CutOff, match="unfinished"):
        kept(frame(http2.HEADERS, 0, 3, block(OK_HEAD)), whole(b"2", 3)).exchange(FIELDS, b"")


def test_pings_and_settings_are_acknowledged_before_the_answer_comes() -> None:
    script = Script(frame(http2.SETTINGS, 0, 0) + frame(http2.PING, 0, 0, b"12345678"), whole(b""))
    GrpcConnection(script).exchange(FIELDS, b"")
    assert script.sent.endswith(
        frame(http2.SETTINGS, http2.ACK, 0) + frame(http2.PING, http2.ACK, 0, b"12345678")
    )


def test_what_came_between_two_calls_is_read_by_the_second() -> None:
    script = Script(whole(b"") + frame(http2.PING, 0, 0, b"12345678"), whole(b"", stream=3))
    connection = GrpcConnection(script)
    connection.exchange(FIELDS, b"")
    connection.exchange(FIELDS, b"")
    assert frame(http2.PING, http2.ACK, 0, b"12345678") in script.sent


@pytest.mark.parametrize("replies", [(), (whole(b"1"),)], ids=["new", "kept"])
def test_an_end_before_any_answer(replies: tuple[bytes, ...]) -> None:
    connection = GrpcConnection(Script(*replies))
    for _ in replies:
        connection.exchange(FIELDS, b"")
    with pytest.raises(CutOff) as raised:
        connection.exchange(FIELDS, b"")
    assert raised.value.untouched


@pytest.mark.parametrize(
    "reply",
    [
        headers(OK_HEAD),
        headers(OK_HEAD) + data(message(b"abc")[:6]),
        headers(OK_HEAD) + data(message(b"abc")),
    ],
    ids=["head", "part", "message"],
)
def test_an_end_within_the_answer(reply: bytes) -> None:
    with pytest.raises(CutOff) as raised:
        exchange(reply)
    assert not raised.value.untouched


def test_a_server_that_goes_away() -> None:
    def go_away(last: int) -> bytes:
        return frame(http2.GOAWAY, 0, 0, last.to_bytes(4, "big") + bytes(4) + b"restarting")

    with pytest.raises(CutOff) as raised:
        exchange(go_away(0))
    assert raised.value.untouched  # whatever else has come: it says that it did not take the call
    connection = GrpcConnection(Script(go_away(2**31 - 1) + whole(b"the last")))
    assert connection.exchange(FIELDS, b"").message == b"the last"
    assert not connection.reusable


@pytest.mark.parametrize(
    ("code", "status"), [(7, "UNAVAILABLE"), (8, "CANCELLED"), (11, "RESOURCE_EXHAUSTED"), (2, "INTERNAL")]
)
def test_a_stream_that_is_reset(code: int, status: str) -> None:
    answer = exchange(frame(http2.RST_STREAM, 0, 1, code.to_bytes(4, "big")))
    assert answer.status == getattr(http2, status)


def test_a_failure_that_comes_before_everything_was_sent() -> None:
    failed = headers([*OK_HEAD, ("grpc-status", "8"), ("grpc-message", "too%20much")], last=True)
    connection = GrpcConnection(Script(failed))
    answer = connection.exchange(FIELDS, bytes(1_000_000))
    assert (answer.status, answer.details) == (8, "too much")
    assert not connection.reusable


@pytest.mark.parametrize(
    ("replies", "status"),
    [
        (headers([(":status", "503")], last=True), http2.UNAVAILABLE),
        (headers([(":status", "404")]) + data(b"<html>"), http2.UNIMPLEMENTED),
        (headers([(":status", "200")], last=True), http2.UNKNOWN),
        (headers(OK_HEAD) + headers([("x", "y")], last=True), http2.UNKNOWN),
        (headers(OK_HEAD) + data(message(b"m"), flags=http2.END_STREAM), http2.UNKNOWN),
        (headers(OK_HEAD) + headers(OK_END, last=True), http2.INTERNAL),  # without a message
        (headers(OK_HEAD) + headers([("grpc-status", "two")], last=True), http2.UNKNOWN),
        (headers(OK_HEAD) + data(http2.MESSAGE_HEAD.pack(0, 2**32 - 1)), http2.RESOURCE_EXHAUSTED),
    ],
    ids=range(8),
)
def test_answers_that_grpc_does_not_know(replies: bytes, status: int) -> None:
    assert exchange(replies).status == status


@pytest.mark.parametrize(
    "replies",
    [
        headers(OK_HEAD) + data(message(b"one") + message(b"two")) + headers(OK_END, last=True),
        headers(OK_HEAD) + data(message(b"one")) + data(message(b"two")) + headers(OK_END, last=True),
        headers(OK_HEAD) + data(b"\x01" + message(b"squeezed")[1:]),
        frame(http2.HEADERS, END, 1, b"\xff\xff\xff\xff\xff"),
        frame(http2.HEADERS, END, 1, b"\xbe"),  # of a dynamic table
        frame(http2.HEADERS, 0, 1, b"") + data(b""),
        frame(http2.CONTINUATION, END, 1, b""),
        frame(http2.HEADERS, 0, 1, b"") + frame(http2.CONTINUATION, 0, 1, bytes(60_000)) * 2,
        frame(http2.PUSH, END, 1, bytes(4)),
        frame(http2.SETTINGS, 0, 0, bytes(5)),
        data(b"\x09abc", flags=http2.PADDED),
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=range(12),
)
def test_what_no_server_may_send(replies: bytes) -> None:
    with pytest.raises(CutOff, match="not what HTTP/2 allows") as raised:
        exchange(replies)
    assert not raised.value.untouched


def test_how_large_the_headers_of_an_answer_may_be() -> None:
    """As HTTP/2 counts them: 32 bytes for each beside its name and value."""
    rest = http2.MAX_HEADER_BLOCK - sum(len(name) + len(value) + 32 for name, value in [*OK_HEAD, ("x", "")])
    body = data(message(b"m")) + headers(OK_END, last=True)
    assert exchange(headers([*OK_HEAD, ("x", "y" * rest)]) + body).status == http2.OK
    with pytest.raises(CutOff, match="not what HTTP/2 allows"):
        exchange(headers([*OK_HEAD, ("x", "y" * (rest + 1))]) + body)


def test_how_large_an_answer_may_be() -> None:
    """By what its first bytes say: 2 GiB less a byte, of which the rest is waited for."""
    with pytest.raises(CutOff):
        exchange(headers(OK_HEAD) + data(http2.MESSAGE_HEAD.pack(0, 2**31 - 1)))
    refused = exchange(headers(OK_HEAD) + data(http2.MESSAGE_HEAD.pack(0, 2**31)))
    assert refused.status == http2.RESOURCE_EXHAUSTED


def test_every_form_that_frames_may_have() -> None:
    fields = block([*OK_HEAD, ("x-long", "y" * 100)])
    padded = bytes((3,)) + bytes(5) + fields[:10]
    answer = exchange(
        frame(http2.HEADERS, http2.PADDED | http2.HAS_PRIORITY, 1, padded + bytes(3))
        + frame(http2.CONTINUATION, END, 1, fields[10:])
        + frame(http2.PRIORITY, 0, 1, bytes(5))
        + frame(0xF0, 0, 1, b"of an unknown kind")
        + data(bytes((2,)) + message(b"part")[:6] + bytes(2), flags=http2.PADDED)
        + data(b"")
        + data(message(b"part")[6:])
        + data(b"of another stream", stream=7)
        + headers(OK_END, last=True)
    )
    assert answer.message == b"part"
    assert answer.initial == (("x-long", "y" * 100),)


@given(st.floats(0.0000001, 1e12))
def test_the_timeout_that_is_told_is_the_next_of_two_digits(seconds: float) -> None:
    value = http2.timeout_value(seconds)
    if not value:
        assert seconds > 9e7
        return
    told = int(value[:-1]) * {b"S": 1.0, b"m": 1e-3}[value[-1:]]
    assert len(value) <= 9
    assert told >= seconds * 0.999999
    assert told <= seconds * 1.11 + 0.001
    assert len(value[:-1].rstrip(b"0")) <= 2


@pytest.mark.parametrize("length", [10, 126, 127, 128, 254, 255, 5_000, 70_000])
def test_strings_of_any_length(length: int) -> None:
    fields = http2.metadata_fields([("x-key", "v" * length)])
    assert dict(Decoder(100_000).decode(fields, raw=True)) == {b"x-key": b"v" * length}
