"""The HTTP/1.1 server below the REST API: connections, and the threads that serve them.

The thread that leads (`lead`) reads connections, runs the handler and writes the answers. A thread that leaves the lead
takes along the connection that it is at. So a request changes threads never, idle connections cost no thread, and a
client that sends or reads slowly holds none. Owns sockets and threads. Never looks into a request.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable

from tfsd.model_server.lead import Lead
from tfsd.model_server.rest.http_message import (
    BadRequest,
    Request,
    RequestReader,
    Response,
    html_error,
    render_head,
    stays_open,
)
from tfsd.model_server.sockets import FIRST_READ, READ_SIZE, accept_all, listen

log = logging.getLogger(__name__)

#: Answers a request; must not raise.
Handler = Callable[[Request], Response]

_LARGE_BODY = 64 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_MAX_EVENTS = 16
_POLL_SECONDS = 0.02


class _Connection:
    """One client. The leader's while it is watched, else of the thread that took it along when it left the lead.

    `watched` has the events that epoll looks for, 0 when it is not asked to.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.reader = RequestReader()
        self.unsent = memoryview(b"")
        self.closing = False
        self.watched = 0


class HttpServer:
    """Serves requests until it is stopped.

    Args:
        handler: called by up to `num_threads` threads at once. It calls `lead.leave` before what may take long.
        host: address to listen on (see `sockets.listen`).
        port: TCP port; 0 for a free one, see `port` afterwards.
        num_threads: threads that read, handle and write.
    Raises OSError: the port is taken.
    """

    def __init__(self, handler: Handler, host: str, port: int, num_threads: int) -> None:
        self._handler = handler
        self._listener: socket.socket | None = listen(host, port)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # accepted sockets inherit it
        self.port: int = self._listener.getsockname()[1]
        self._epoll = select.epoll()
        self._wake = os.eventfd(0)
        self._connections: dict[int, _Connection] = {}
        self._draining = False
        self._lead = Lead(self._take_along)
        self._served: _Connection | None = None  # by the leader
        self._threads = [
            threading.Thread(target=self._serve, name=f"rest-{index}", daemon=True)
            for index in range(num_threads)
        ]

    def start(self) -> None:
        """Begin to accept connections."""
        assert self._listener is not None
        self._epoll.register(self._wake, select.EPOLLIN)
        self._epoll.register(self._listener, select.EPOLLIN)
        for thread in self._threads:
            thread.start()

    def stop(self, grace_seconds: float = 0.0) -> None:
        """Refuse new connections, finish the requests that have begun, then close everything.

        Args:
            grace_seconds: how long requests may take to finish; what has not finished then is cut off.
        """
        if self._listener is None:
            return
        self._draining = True
        self._accept()  # those that have connected already are not refused
        listener, self._listener = self._listener, None
        listener.close()
        deadline = time.monotonic() + grace_seconds
        for connection in list(self._connections.values()):
            if connection.reader.idle:
                # The client sees the end of the stream; a request that has already arrived is still read.
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RD)
        while self._connections and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        os.eventfd_write(self._wake, 1)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()) + 1.0)
        for connection in list(self._connections.values()):
            connection.sock.close()

    def _serve(self) -> None:
        while True:
            self._lead.take()
            while self._lead.mine:
                for fd, _ in self._epoll.poll(None, _MAX_EVENTS):
                    if fd == self._wake:
                        self._served = None
                        self._lead.leave()
                        return
                    self._turn_to(fd)
                    if not self._lead.mine:
                        break  # what else has come is reported to the next leader as well

    def _turn_to(self, fd: int) -> None:
        """Serve a connection, or take new ones."""
        connection = self._served = self._connections.get(fd)
        try:
            if connection is None:
                self._accept()
            else:
                self._advance(connection)
        except Exception:
            log.exception("A connection failed: a defect of this server.")
            if connection is not None:
                self._close(connection)

    def _take_along(self) -> None:
        """The leader goes: the next one shall not turn to the connection that it is at."""
        if self._served is not None:
            self._watch(self._served, 0)

    def _watch(self, connection: _Connection, events: int) -> None:
        """Have epoll look for these events of a connection; the leader takes it up at once."""
        before, connection.watched = connection.watched, events
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile
            if not events:
                self._epoll.unregister(connection.sock)
            elif not before:
                self._epoll.register(connection.sock, events)
            elif events != before:
                self._epoll.modify(connection.sock, events)

    def _accept(self) -> None:
        listener = self._listener
        for sock in accept_all(listener) if listener is not None else ():
            connection = self._connections[sock.fileno()] = _Connection(sock)
            self._watch(connection, select.EPOLLIN)

    def _advance(self, connection: _Connection) -> None:
        """Go on with a connection as far as it goes without waiting, then hand it back to epoll."""
        try:
            if connection.unsent and not (self._flush(connection) and self._answer_all(connection)):
                return
            size = FIRST_READ
            while True:
                data = connection.sock.recv(size)
                if not data:
                    self._close(connection)
                    return
                connection.reader.feed(data)
                if not self._answer_all(connection):
                    return
                if len(data) < size:
                    break
                size = READ_SIZE
        except BlockingIOError:
            pass
        except OSError:
            self._close(connection)
            return
        if self._draining and connection.reader.idle:
            self._close(connection)
            return
        if connection.watched != select.EPOLLIN:
            self._watch(connection, select.EPOLLIN)

    def _answer_all(self, connection: _Connection) -> bool:
        """Answer the requests that are complete; False when the connection is not to be read on now."""
        reader = connection.reader
        while True:
            request: Request | None = None
            try:
                request = reader.next()
                if request is None:
                    if reader.continues:
                        reader.continues = False
                        connection.sock.send(_CONTINUE)
                    return True
                response = self._respond(request)
            except BadRequest as error:
                response = error.response
            if self._draining:
                response.close = True
            keep_alive = stays_open(request, response)
            connection.closing = not keep_alive
            if not self._send(connection, render_head(request, response, keep_alive), response.body):
                return False

    def _respond(self, request: Request) -> Response:
        if len(request.body) > _LARGE_BODY:
            self._lead.leave()
        try:
            return self._handler(request)
        except Exception:
            log.exception("%s %s failed: a defect of this server.", request.method, request.uri)
            return html_error(500)

    def _send(self, connection: _Connection, head: bytes, body: bytes) -> bool:
        """Send an answer; False when the connection was closed, or waits until the client has read on."""
        try:
            # small ones are joined in less time than the kernel takes for two pieces
            sent = (
                connection.sock.send(head + body)
                if len(body) < _LARGE_BODY
                else connection.sock.sendmsg((head, body))
            )
        except BlockingIOError:
            sent = 0
        if sent == len(head) + len(body):
            if connection.closing:
                self._close(connection)
                return False
            return True
        rest = memoryview(body)[sent - len(head) :] if sent >= len(head) else memoryview(head[sent:] + body)
        connection.unsent = rest
        return self._flush(connection)

    def _flush(self, connection: _Connection) -> bool:
        """Send the rest of an answer; False as `_send`."""
        try:
            while connection.unsent:
                connection.unsent = connection.unsent[connection.sock.send(connection.unsent) :]
        except BlockingIOError:
            self._watch(connection, select.EPOLLOUT)
            return False
        if connection.closing:
            self._close(connection)
            return False
        return True

    def _close(self, connection: _Connection) -> None:
        """Close a connection so that an answer just sent arrives even if the client is still sending."""
        if self._connections.pop(connection.sock.fileno(), None) is None:
            return
        with contextlib.suppress(OSError):
            connection.sock.shutdown(socket.SHUT_WR)
            if connection.closing:
                connection.sock.recv(READ_SIZE)  # unread bytes would make the kernel send a reset
        connection.sock.close()
