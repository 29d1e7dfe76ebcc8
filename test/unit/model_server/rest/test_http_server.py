"""The HTTP server on real sockets: kept connections, slow clients, many connections, draining."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from tfsd.model_server.lead import leave
from tfsd.model_server.rest.http_message import Request, Response
from tfsd.model_server.rest.http_server import HttpServer

TIMEOUT = 20.0


class Echo:
    """Answers with the request's body; /wait is answered when `release` is set, /big with 8 MB."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.release = threading.Event()

    def __call__(self, request: Request) -> Response:
        if request.path == "/wait":
            leave()
            self.entered.set()
            assert self.release.wait(TIMEOUT)
        if request.path == "/fail":
            raise RuntimeError("a fault")
        body = bytes(8 << 20) if request.path == "/big" else bytes(request.body)
        return Response(200, "text/plain", body)


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def server(echo: Echo) -> Iterator[HttpServer]:
    server = HttpServer(echo, "127.0.0.1", 0, num_threads=2)
    server.start()
    yield server
    echo.release.set()
    server.stop(TIMEOUT)


def connect(server: HttpServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), TIMEOUT)


def post(server: HttpServer, path: str = "/", body: bytes = b"x") -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
    connection.request("POST", path, body)
    return connection.getresponse().read()


def test_a_connection_serves_many_requests(server: HttpServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
    for size in (0, 1, 5_000_000, 3):
        connection.request("POST", "/", bytes(size))
        assert connection.getresponse().read() == bytes(size)


def test_pipelined_requests_are_answered_in_order(server: HttpServer) -> None:
    with connect(server) as sock:
        request = b"POST / HTTP/1.1\r\nContent-Length: 1\r\n%b\r\n%b"
        sock.sendall(
            request % (b"", b"1") + request % (b"", b"2") + request % (b"Connection: close\r\n", b"3")
        )
        answers = b"".join(iter(lambda: sock.recv(65536), b""))

    assert [answer[-1:] for answer in answers.split(b"HTTP/1.1 200 OK")[1:]] == [b"1", b"2", b"3"]


def test_a_waiting_client_is_told_to_continue(server: HttpServer) -> None:
    with connect(server) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert sock.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"ok")
        assert sock.recv(65536).endswith(b"ok")


def test_slow_and_idle_clients_hold_no_thread(server: HttpServer) -> None:
    slow = [connect(server) for _ in range(100)]
    for sock in slow[:50]:
        sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc")

    assert post(server) == b"x"

    for sock in slow[:50]:
        sock.sendall(b"defghij")
        assert sock.recv(65536).endswith(b"abcdefghij")
    for sock in slow:
        sock.close()


def test_clients_that_do_not_read_hold_no_thread(server: HttpServer) -> None:
    readers = [connect(server) for _ in range(4)]
    for sock in readers:
        sock.sendall(b"GET /big HTTP/1.1\r\nConnection: close\r\n\r\n")

    assert post(server) == b"x"

    for sock in readers:
        received = sum(map(len, iter(partial(sock.recv, 1 << 20), b"")))
        assert received > 8 << 20
        sock.close()


def test_long_work_leaves_the_lead_to_another(server: HttpServer, echo: Echo) -> None:
    answers: list[bytes] = []
    client = threading.Thread(target=lambda: answers.append(post(server, "/wait", b"late")))
    client.start()
    assert echo.entered.wait(TIMEOUT)

    assert post(server) == b"x"

    echo.release.set()
    client.join(TIMEOUT)
    assert answers == [b"late"]


def test_a_fault_of_the_handler_is_a_500(server: HttpServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
    connection.request("GET", "/fail")
    assert connection.getresponse().status == 500
    assert post(server) == b"x"


def test_a_bad_request_is_answered_and_the_next_client_served(server: HttpServer) -> None:
    with connect(server) as sock:
        sock.sendall(b"NONSENSE\r\n\r\n")
        assert b"400 Bad Request" in b"".join(iter(lambda: sock.recv(65536), b""))
    assert post(server) == b"x"


def test_stopping_finishes_what_has_begun_and_closes_the_rest(server: HttpServer, echo: Echo) -> None:
    idle = connect(server)
    answers: list[bytes] = []
    client = threading.Thread(target=lambda: answers.append(post(server, "/wait", b"late")))
    client.start()
    assert echo.entered.wait(TIMEOUT)
    stopping = threading.Thread(target=server.stop, args=(TIMEOUT,))
    stopping.start()

    assert idle.recv(1) == b""
    with pytest.raises(OSError, match="refused"):
        connect(server)
    echo.release.set()
    client.join(TIMEOUT)
    stopping.join(TIMEOUT)

    assert answers == [b"late"]
    assert not stopping.is_alive()


def test_two_servers_cannot_have_one_port(server: HttpServer) -> None:
    with pytest.raises(OSError, match="in use"):
        HttpServer(Echo(), "127.0.0.1", server.port, 1)
