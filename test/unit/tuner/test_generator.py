"""The load generator's process against servers of the test's own."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Iterator

import pytest

from tfsd.tuner.goal import Goal
from tfsd.tuner.load import LoadGenerator, Probe, Request

RELAXED = Goal(0.99, 20.0)


class Server(http.server.ThreadingHTTPServer):
    """Answers with `status`, after `wait` seconds; keeps what it was sent."""

    daemon_threads = True
    request_queue_size = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.wait = 200, 0.0
        self.turns: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        self.bodies: list[tuple[str, bytes]] = []


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append((self.headers["Content-Type"], body))
        with self.server.turns:
            time.sleep(self.server.wait)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def generator() -> Iterator[LoadGenerator]:
    with LoadGenerator([Request(b"[1]"), Request(b"2,3", "text/csv")]) as running:
        yield running


def run(generator: LoadGenerator, server: Server, rate: float, seconds: float, goal: Goal = RELAXED) -> Probe:
    return generator.run(server.server_address[1], rate, seconds, seed=1, goal=goal)


def test_all_requests_are_sent_and_counted(generator: LoadGenerator, server: Server) -> None:
    probe = run(generator, server, rate=100, seconds=1)
    assert (probe.due, probe.planned, len(probe.latencies)) == (100, 100, 100)
    assert probe.statuses == {"200": 100}
    assert probe.keeps(RELAXED)
    assert 0 < probe.quantile(0.5) <= probe.quantile(0.99) < 20
    assert set(server.bodies) == {("application/json", b"[1]"), ("text/csv", b"2,3")}
    assert 0 < probe.cpu_share < 1


def test_requests_do_not_wait_for_each_other(generator: LoadGenerator, server: Server) -> None:
    """Twenty times as many as one client could send."""
    server.wait = 0.2
    probe = run(generator, server, rate=100, seconds=1)
    assert probe.statuses == {"200": 100}
    assert probe.latencies[0] >= 0.2


def test_queueing_is_not_hidden_by_waiting_clients(generator: LoadGenerator, server: Server) -> None:
    """Twice as many are due as a server of one at a time answers: what came last has waited for all before it."""
    server.wait, server.turns = 0.02, threading.Lock()
    probe = run(generator, server, rate=100, seconds=1)
    assert probe.statuses == {"200": 100}
    assert probe.latencies[-1] > 0.5
    assert probe.connections > 10


def test_a_hopeless_run_ends_early(generator: LoadGenerator, server: Server) -> None:
    server.wait = 0.3
    probe = run(generator, server, rate=50, seconds=60, goal=Goal(0.99, 0.1))
    assert probe.stopped
    assert probe.due < 3000
    assert not probe.keeps(Goal(0.99, 0.1))


def test_errors_are_late_for_ever(generator: LoadGenerator, server: Server) -> None:
    server.status = 503
    probe = run(generator, server, rate=50, seconds=1)
    assert probe.stopped
    assert set(probe.statuses) == {"503"}
    assert probe.quantile(0.5) == float("inf")


def test_nobody_listens(generator: LoadGenerator, server: Server) -> None:
    port = server.server_address[1]
    server.server_close()
    probe = generator.run(port, 50, 1, seed=1, goal=RELAXED)
    assert probe.statuses.keys() == {"none"}
    assert not probe.keeps(RELAXED)


def test_a_generator_that_was_slow_is_told_from_a_slow_server() -> None:
    answer = {
        "due": 3,
        "planned": 3,
        "micros": [1000, 2000, 900_000],
        "missing": 0,
        "seconds": 1.0,
        "statuses": {"200": 3},
        "cpu_share": 0.2,
        "lateness": 0.001,
        "stopped": False,
        "connections": 3,
    }
    goal = Goal(0.99, 0.1)
    assert not Probe.from_answer(3, answer).generator_was_slow(goal)
    assert Probe.from_answer(3, answer | {"lateness": 0.05}).generator_was_slow(goal)
    assert Probe.from_answer(3, answer | {"cpu_share": 0.95}).generator_was_slow(goal)
    assert not Probe.from_answer(3, answer | {"micros": [1, 2, 3], "cpu_share": 0.95}).generator_was_slow(
        goal
    )
