"""A lean gRPC server for unary calls over plain text: what `GrpcServer` does, at a fraction of its CPU time.

The thread that leads (`lead`) reads connections, runs calls and answers them, so that a call alone changes threads
never. One thread more than may run calls is always left to lead. Owns sockets and threads. Knows no method.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from tfsd.model_server.errors import Code, ServingError, invalid
from tfsd.model_server.lead import Lead
from tfsd.model_server.rpc import http2
from tfsd.model_server.rpc.http2_connection import Call, Connection
from tfsd.model_server.rpc.method import Method, exhausted, outcome
from tfsd.model_server.sockets import BACKLOG, accept_all, listen

log = logging.getLogger(__name__)

_LARGE_BODY = 64 * 1024
_MAX_EVENTS = 16
_POLL_SECONDS = 0.02


class Http2Server:
    """Serves methods until it is stopped.

    Args:
        methods: path -> method.
        addresses: `HOST:PORT`, `[IPv6]:PORT` or `unix:PATH`.
        threads: how many calls run at once; more wait.
        limit: how many calls there may be, waiting ones included; None for any number. More are refused.
    """

    def __init__(
        self, methods: Mapping[str, Method], addresses: Sequence[str], threads: int, limit: int | None = None
    ) -> None:
        self._methods = methods
        self._addresses = addresses
        self._most = threads
        self._limit = limit
        self._epoll = select.epoll()
        self._wake = os.eventfd(0)
        self._lead = Lead()
        self._listeners: dict[int, socket.socket] = {}
        self._connections: dict[int, Connection] = {}
        self._watched: dict[int, int] = {}  # the events that epoll looks for, of each of them
        self._counting = threading.Lock()
        self._waiting: deque[Call] = deque()
        self._running = 0
        self._draining = False
        self._ended = False

    def start(self) -> None:
        """Listen and serve. Raises ServingError: INVALID_ARGUMENT, an address cannot be listened on."""
        for address in self._addresses:
            try:
                listener = _listen(address)
            except OSError as error:
                log.error("Cannot listen on %s: %s", address, error)
                raise invalid("Failed to BuildAndStart gRPC server") from None
            self._listeners[listener.fileno()] = listener
        self._epoll.register(self._wake, select.EPOLLIN)
        for fd in self._listeners:
            self._epoll.register(fd, select.EPOLLIN)
        for index in range(self._most + 1):
            threading.Thread(target=self._serve, name=f"grpc-{index}", daemon=True).start()

    def stop(self, drain_seconds: float) -> Callable[[], None]:
        """Take no more connections and let calls in flight finish; returns a function that waits for them."""
        deadline = time.monotonic() + drain_seconds
        self._draining = True
        for listener in list(self._listeners.values()):
            self._accept(listener)  # those that have connected already are served
            self._listeners.pop(listener.fileno())
            listener.close()
        for connection in list(self._connections.values()):
            connection.go_away(last=http2.MAX_WINDOW)

        def wait() -> None:
            while self._is_busy() and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
            for connection in list(self._connections.values()):
                connection.go_away()
            self._ended = True
            os.eventfd_write(self._wake, 1)
            for fd in list(self._connections):
                self._close(fd)

        return wait

    def _serve(self) -> None:
        while not self._ended:
            self._lead.take()
            with self._counting:
                call = self._next()
            self._run(call)  # which the last leader has read
            while self._lead.mine and not self._ended:
                for fd, _ in self._epoll.poll(None, _MAX_EVENTS):
                    try:
                        self._turn_to(fd)
                    except Exception:
                        log.exception("A connection failed: a defect of this server.")
                        self._close(fd)
                    if not self._lead.mine:
                        break  # what else has come is reported to the next leader as well
            self._lead.leave()

    def _turn_to(self, fd: int) -> None:
        connection = self._connections.get(fd)
        if connection is not None:
            self._advance(fd, connection)
        elif fd in self._listeners:
            self._accept(self._listeners[fd])

    def _accept(self, listener: socket.socket) -> None:
        for sock in accept_all(listener):
            connection = self._connections[sock.fileno()] = Connection(sock)
            connection.flush()
            if self._draining:
                connection.go_away(last=http2.MAX_WINDOW)
            self._watch(sock.fileno(), select.EPOLLIN)

    def _advance(self, fd: int, connection: Connection) -> None:
        """Read what has come, and run the calls until one takes long: the next leader goes on with the others."""
        try:
            calls = connection.receive()
        except http2.BadConnection as error:
            connection.go_away(error.code)
            self._close(fd)
            return
        except (OSError, EOFError):
            self._close(fd)
            return
        if connection.closed:
            self._close(fd)
            return
        events = select.EPOLLIN | select.EPOLLOUT if connection.has_unsent else select.EPOLLIN
        if events != self._watched[fd]:
            self._watch(fd, events)
        if calls:
            self._run(self._admit(calls))

    def _watch(self, fd: int, events: int) -> None:
        """Have epoll look for these events of a connection."""
        before = self._watched.get(fd)
        self._watched[fd] = events
        if before is None:
            self._epoll.register(fd, events)
        elif events != before:
            self._epoll.modify(fd, events)

    def _admit(self, calls: list[Call]) -> Call | None:
        """Queue as many calls as there may be more, and refuse the others; returns one as `_next` does."""
        with self._counting:
            room = len(calls)
            if self._limit is not None:
                room = max(0, self._limit - self._running - len(self._waiting))
            self._waiting.extend(calls[:room])
            call = self._next()
        for refused in calls[room:]:
            refused.connection.fail(refused, exhausted())
        return call

    def _is_busy(self) -> bool:
        """Whether any call is running or waits."""
        with self._counting:
            return bool(self._running or self._waiting)

    def _next(self) -> Call | None:
        """The call that has waited longest, if one more may run; whoever takes it calls `_run`. The lock is held."""
        if not self._waiting or self._running >= self._most:
            return None
        self._running += 1
        return self._waiting.popleft()

    def _run(self, call: Call | None) -> None:
        """Run a call and then whichever waits."""
        while call is not None:
            try:
                self._answer(call)
            except Exception:
                log.exception("A call failed: a defect of this server.")
                call.connection.give_up()
            with self._counting:
                self._running -= 1
                call = self._next()

    def _answer(self, call: Call) -> None:
        connection = call.connection
        if call.cancelled:
            return
        if call.is_late():
            connection.fail(call, _late())
            return
        method = self._methods.get(call.head.path)
        if method is None:
            connection.fail(call, ServingError(Code.UNIMPLEMENTED, "Method not found!"))
            return
        body = call.body[0] if len(call.body) == 1 else b"".join(call.body)
        call.body = []
        if len(body) > _LARGE_BODY:
            self._lead.leave()
        answer = outcome(
            lambda request, is_active: method(http2.message(request, call.head.encoding), is_active),
            body,
            call.is_active,
        )
        if call.is_late():
            connection.fail(call, _late())
        elif isinstance(answer, ServingError):
            connection.fail(call, answer)
        else:
            connection.answer(call, answer)

    def _close(self, fd: int) -> None:
        self._watched.pop(fd, None)
        connection = self._connections.pop(fd, None)
        if connection is not None:
            connection.close()


def _late() -> ServingError:
    return ServingError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")


def _listen(address: str) -> socket.socket:
    """A listening socket; a UNIX socket that another process left behind is replaced. Raises OSError."""
    if not address.startswith("unix:"):
        host, _, port = address.rpartition(":")
        return listen(host.strip("[]"), int(port))
    path = address.removeprefix("unix:")
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener
