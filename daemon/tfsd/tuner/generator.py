"""`python -m tfsd.tuner.generator`: sends requests at the moments at which they are due, whatever the server does.

A process of its own, so that nothing that computes or draws delays a request. It has one thread and no more than
MAX_CONNECTIONS connections, measures its own CPU time and how late it sends, and leaves the judgement to its reader.
Never imports numpy: it starts in a tenth of a second.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import contextlib
import gc
import json
import math
import os
import random
import selectors
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httptools

ADDRESS = "127.0.0.1"
MAX_CONNECTIONS = 900  # select(), whose wait is exact to microseconds, takes 1024 descriptors
CHECK_SECONDS = 0.05  # how often a run looks whether its goal is out of reach
PATIENCE_SECONDS = 0.2  # beyond the limit, for the responses to the last requests
PRIORITY = -10  # where we may: what is due is sent, however busy the server is


class Flight:
    """A request that is due at `due` (on the loop's clock) and has no response yet."""

    __slots__ = ("due", "message")

    def __init__(self, due: float, message: bytes) -> None:
        self.due = due
        self.message = message


class Connection(asyncio.Protocol):
    """A kept connection with one request at a time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._parser = httptools.HttpResponseParser(self)
        self.flight: Flight | None = None
        self.transport: asyncio.Transport | None = None

    def send(self, flight: Flight) -> None:
        self.flight = flight
        assert self.transport is not None
        self.transport.write(flight.message)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_message_complete(self) -> None:
        flight, self.flight = self.flight, None
        status, kept = self._parser.get_status_code(), self._parser.should_keep_alive()
        self._parser = httptools.HttpResponseParser(self)
        if flight is not None:
            self._run.finished(self, flight, str(status), kept)

    def connection_lost(self, error: Exception | None) -> None:
        self._run.lost(self)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class Run:
    """One run: `order` has port, rate, planned, seed, limit, quantile and allowed, as `tfsd.tuner.load` writes them."""

    def __init__(self, order: Mapping[str, Any], messages: Sequence[bytes]) -> None:
        self._order = order
        self._messages = messages
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._opening = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: collections.deque[Flight] = collections.deque()
        self._flights: dict[Flight, None] = {}  # in the order of their moments
        self._micros: list[int] = []
        self._lateness: list[float] = []
        self._statuses: collections.Counter[str] = collections.Counter()
        self._late = 0
        self._most_open = 0
        self.due = 0

    async def run(self) -> dict[str, Any]:
        """Send all requests, or as many as it takes to know that the goal is broken."""
        order = self._order
        chance = random.Random(order["seed"])
        began, cpu = self._loop.time(), time.process_time()
        moment, checked, stopped = began + 0.01, began, False
        while self.due < order["planned"] and not stopped:
            moment += chance.expovariate(order["rate"])
            while True:
                now = self._loop.time()
                if now - checked > CHECK_SECONDS:
                    checked, stopped = now, self._overdue(now) > order["allowed"]
                if now >= moment or stopped:
                    break
                await asyncio.sleep(min(moment - now, CHECK_SECONDS))
            if not stopped:
                self._start(Flight(moment, chance.choice(self._messages)))
        end = self._loop.time() + order["limit"] + PATIENCE_SECONDS
        while self._flights and not stopped and (now := self._loop.time()) < end:
            stopped = self._overdue(now) > order["allowed"]
            await asyncio.sleep(0.005)
        if not stopped:
            self._statuses["none"] += len(self._flights)
        elapsed = self._loop.time() - began
        share = (time.process_time() - cpu) / elapsed
        answer = {
            "due": self.due,
            "planned": order["planned"],
            "micros": self._micros,
            "missing": self.due - len(self._micros),
            "seconds": elapsed,
            "statuses": dict(+self._statuses),
            "cpu_share": share,
            "lateness": quantile(self._lateness, order["quantile"]),
            "connections": self._most_open,
            "stopped": stopped,
        }
        self._flights.clear()
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        for connection in list(self._open):
            connection.close()
        return answer

    def _overdue(self, now: float) -> int:
        """Requests that are late for sure: answered too late, failed, or waiting for longer than the limit."""
        limit = now - self._order["limit"]
        waiting = 0
        for flight in self._flights:
            if flight.due > limit:
                break
            waiting += 1
        return self._late + waiting

    def _start(self, flight: Flight) -> None:
        self.due += 1
        self._lateness.append(self._loop.time() - flight.due)
        self._flights[flight] = None
        if self._idle:
            self._idle.pop().send(flight)
            return
        self._waiting.append(flight)
        if len(self._open) + self._opening < MAX_CONNECTIONS and self._opening < len(self._waiting):
            self._opening += 1
            task = self._loop.create_task(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self), ADDRESS, self._order["port"]
            )
        except OSError:
            self._opening -= 1
            if self._waiting:
                self._failed(self._waiting.popleft(), "none")
            return
        self._opening -= 1
        self._open.add(connection)
        self._most_open = max(self._most_open, len(self._open))
        self._free(connection)

    def _free(self, connection: Connection) -> None:
        if self._waiting:
            connection.send(self._waiting.popleft())
        else:
            self._idle.append(connection)

    def finished(self, connection: Connection, flight: Flight, status: str, kept: bool) -> None:
        """A response has come."""
        if self._flights.pop(flight, flight) is flight:
            return  # its run is over
        if status == "200":
            latency = self._loop.time() - flight.due
            self._micros.append(round(latency * 1e6))
            self._late += latency > self._order["limit"]
            self._statuses[status] += 1
        else:
            self._late += 1
            self._statuses[status] += 1
        if kept:
            self._free(connection)
        else:
            connection.close()

    def _failed(self, flight: Flight, status: str) -> None:
        if self._flights.pop(flight, flight) is not flight:
            self._late += 1
            self._statuses[status] += 1

    def lost(self, connection: Connection) -> None:
        """A connection is closed; a request on it has failed."""
        self._open.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)
        if connection.flight is not None:
            self._failed(connection.flight, "none")


def quantile(values: Sequence[float], share: float) -> float:
    """The value that a `share` of all does not exceed, by the nearest rank; 0 without values."""
    if not values:
        return 0.0
    return sorted(values)[min(math.ceil(share * len(values)), len(values)) - 1]


def message(request: Mapping[str, Any]) -> bytes:
    """The bytes of a request."""
    body = base64.b64decode(request["body"])
    lines = [
        "POST /invocations HTTP/1.1",
        f"Host: {ADDRESS}",
        *(f"{name}: {value}" for name, value in request["headers"].items()),
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def main(read: Callable[[], str], write: Callable[[str], object]) -> None:
    """Take lines until there are no more."""
    messages = [message(request) for request in json.loads(read())]
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    gc.freeze()
    gc.disable()
    while line := read():

        async def once(order: Mapping[str, Any]) -> dict[str, Any]:
            return await Run(order, messages).run()

        loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
        try:
            answer = loop.run_until_complete(once(json.loads(line)))
            loop.run_until_complete(asyncio.sleep(0))
        finally:
            loop.close()
        write(json.dumps(answer) + "\n")
        gc.collect()


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.stdin.readline, _write)
