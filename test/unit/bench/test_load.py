from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from bench.table.load import Clients, Request, RequestFailed, is_whole

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"


@pytest.mark.parametrize(
    ("response", "whole"),
    [
        (OK, True),
        (OK[:-1], False),
        (OK[:20], False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n", False),
    ],
    ids=["length", "part", "head", "chunks", "chunk"],
)
def test_a_response_has_an_end(response: bytes, whole: bool) -> None:
    assert is_whole(response) is whole


def test_an_error_is_told_with_its_text() -> None:
    with pytest.raises(RequestFailed, match="no such model"):
        is_whole(b"HTTP/1.1 404 Not Found\r\nContent-Length: 13\r\n\r\nno such model")


@pytest.fixture
def server() -> Iterator[tuple[int, list[bytes]]]:
    """Reads requests of 100,000 bytes of body and answers each: its port, and what it has read."""
    bodies: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection: socket.socket) -> None:
            with connection, connection.makefile("rb") as file:
                while line := file.readline():
                    while line.strip():
                        line = file.readline()
                    bodies.append(file.read(100_000))
                    connection.sendall(OK)

        def accept() -> None:
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1], bodies
        listener.shutdown(socket.SHUT_RDWR)


def test_every_request_is_answered_before_a_load_ends(server: tuple[int, list[bytes]]) -> None:
    port, bodies = server
    with Clients(Request(port, "/", b"x" * 100_000, "text/csv"), 3) as clients:
        before = len(bodies)
        load = clients.load(0.05)
    assert len(load.latencies) == len(bodies) - before >= 3
    assert set(bodies) == {b"x" * 100_000}
    assert load.rate > 0
