"""The client of containers against a server that says, byte by byte, what a test has it say."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.server import StreamServer

from tfsd.sagemaker.instances.http_client import HttpClient

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Script = Callable[[Any, list[bytes]], None]


class Server:
    """Runs `script(socket, requests)` for each connection."""

    def __init__(self, script: Script) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self._script = script
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.port: int = self._server.server_port

    def _serve(self, connection: Any, _address: object) -> None:
        self.connections += 1
        with contextlib.suppress(OSError):
            self._script(connection, self.requests)

    def stop(self) -> None:
        self._server.stop(timeout=0)


@pytest.fixture
def serve() -> Iterator[Callable[[Script], tuple[Server, HttpClient]]]:
    opened: list[Any] = []

    def begin(script: Script) -> tuple[Server, HttpClient]:
        server = Server(script)
        client = HttpClient(server.port)
        opened.extend([client.close, server.stop])
        return server, client

    yield begin
    for close in opened:
        close()


def one_request(connection: Any, requests: list[bytes]) -> None:
    """Wait for a request that comes in one piece."""
    data = connection.recv(65536)
    if not data:
        raise OSError("closed")
    requests.append(data)


def always(*writes: bytes) -> Script:
    """Each request is responded to by these writes."""

    def script(connection: Any, requests: list[bytes]) -> None:
        while True:
            one_request(connection, requests)
            for data in writes:
                connection.sendall(data)
                gevent.sleep(0.005)

    return script


def test_head_and_body_are_one_write_on_a_kept_connection(serve: Any) -> None:
    server, client = serve(always(OK))
    for _ in range(2):
        response = client.request("POST", "/invocations", 5, {"Content-Type": "text/csv"}, b"1,2")
        assert (response.status, response.read(), response.read()) == (200, b"ok", b"ok")
    assert server.connections == 1
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /invocations HTTP/1.1"
    assert {"Content-Type: text/csv", "Content-Length: 3", f"Host: 127.0.0.1:{server.port}"} <= {*lines}
    assert body == b"1,2"


def test_headers_are_found_in_any_case(serve: Any) -> None:
    _, client = serve(
        always(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\nX-One: a\r\nx-one: b\r\nContent-Length: 0\r\n\r\n"
        )
    )
    response = client.request("GET", "/", 5)
    assert (response.status, response.header("x-ONE"), response.header("y")) == (201, "a, b", None)


def test_each_chunk_is_a_piece_however_it_arrives(serve: Any) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server, client = serve(always(head, b"3\r\non", b"e\r\n3\r\ntwo\r\n5\r\nthree\r\n", b"0\r\n\r\n"))
    assert list(client.request("POST", "/", 5).chunks()) == [b"one", b"two", b"three"]
    assert client.request("POST", "/", 5).read() == b"onetwothree"
    assert server.connections == 1


def test_pieces_that_a_body_is_sent_in(serve: Any) -> None:
    def script(connection: Any, requests: list[bytes]) -> None:
        data = b""
        while not data.endswith(b"0\r\n\r\n"):
            data += connection.recv(65536)
        requests.append(data)
        connection.sendall(OK)

    server, client = serve(script)
    assert client.request("POST", "/", 5, {}, iter([b"one", b"", b"two"])).read() == b"ok"
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert body == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


def test_a_response_without_a_length_ends_with_its_connection(serve: Any) -> None:
    def script(connection: Any, requests: list[bytes]) -> None:
        one_request(connection, requests)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        connection.shutdown(socket.SHUT_WR)

    server, client = serve(script)
    assert client.request("POST", "/", 5).read() == b"all of it"
    assert client.request("POST", "/", 5).read() == b"all of it"
    assert server.connections == 2


def test_a_connection_that_was_closed_meanwhile_is_not_used(serve: Any) -> None:
    def script(connection: Any, requests: list[bytes]) -> None:
        one_request(connection, requests)
        connection.sendall(OK)
        connection.shutdown(socket.SHUT_RDWR)

    server, client = serve(script)
    for count in (1, 2, 3):
        assert client.request("POST", "/", 5).read() == b"ok"
        assert server.connections == count
        gevent.sleep(0.01)  # the end of the connection is on its way


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"nonsense\r\n\r\n", b"\x16\x03\x01"], ids=range(4)
)
def test_what_is_no_response(serve: Any, said: bytes) -> None:
    def script(connection: Any, requests: list[bytes]) -> None:
        one_request(connection, requests)
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)

    _, client = serve(script)
    with pytest.raises(ConnectionError) as error:
        client.request("POST", "/", 5)
    assert not isinstance(error.value, ConnectionRefusedError)  # it may have been worked on


@pytest.mark.parametrize(
    "head", [b"Content-Length: 10\r\n\r\nshort", b"Transfer-Encoding: chunked\r\n\r\n5\r\nsho"], ids=range(2)
)
def test_a_body_that_is_cut_off(serve: Any, head: bytes) -> None:
    def script(connection: Any, requests: list[bytes]) -> None:
        one_request(connection, requests)
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head)
        connection.shutdown(socket.SHUT_WR)

    server, client = serve(script)
    left = []
    response = client.request("POST", "/", 5)
    response.at_end(lambda: left.append(True))
    with pytest.raises(ConnectionError):
        response.read()
    assert left == [True]
    with pytest.raises(ConnectionError):
        client.request("POST", "/", 5).read()
    assert server.connections == 2


def test_a_response_that_is_given_up_gives_up_its_connection(serve: Any) -> None:
    server, client = serve(always(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbeginning"))
    for count in (1, 2):
        response = client.request("POST", "/", 5)
        assert next(response.chunks()) == b"beginning"
        response.close()
        response.close()
        assert server.connections == count


def test_a_silent_container_has_its_time(serve: Any) -> None:
    _, client = serve(always(b""))
    with pytest.raises(TimeoutError):
        client.request("POST", "/", 0.05)


def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            HttpClient(bound.getsockname()[1]).request("POST", "/", 5)


def test_an_early_refusal_of_a_large_body_is_read(serve: Any) -> None:
    """The server closes without having read it all, so that sending fails."""

    def script(connection: Any, requests: list[bytes]) -> None:
        one_request(connection, requests)
        connection.sendall(b"HTTP/1.1 413 Too large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno.")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):
            pass

    _, client = serve(script)
    response = client.request("POST", "/", 5, {}, b"x" * (8 << 20))
    assert (response.status, response.read()) == (413, b"no.")


@pytest.mark.parametrize("value", ["a\r\nX-Other: b", "a\nb", "a\rb"], ids=range(3))
def test_a_header_of_several_lines_is_refused(serve: Any, value: str) -> None:
    server, client = serve(always(OK))
    with pytest.raises(ValueError, match="end of a line"):
        client.request("POST", "/", 5, {"Content-Type": value})
    assert server.connections == 0
