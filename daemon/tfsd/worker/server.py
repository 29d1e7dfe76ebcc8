"""gevent's WSGI server on the inherited socket: what it reads and writes per request, and draining.

Nginx is the only client: it has checked and buffered requests, keeps connections alive and retries on
another connection when one is closed before an answer.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket as flags
import sys
import time
from typing import Any

import gevent
from gevent import pywsgi, socket

from tfsd import wsgi
from tfsd.incoming import BodyCut, BodyGone
from tfsd.worker.app import Application, StreamFailed
from tfsd.worker.in_flight import InFlight

INTERNAL_ERROR = "The request failed in the worker; the container's log says why."
BAD_BODY = "The request's body could not be read to its end."
BAD_HEAD = "its first line or its Content-Length is not well-formed HTTP"
ONE_WRITE_BYTES = 64 * 1024  # up to here copying head and body together is cheaper than a second system call

log = logging.getLogger(__name__)


class Handler(wsgi.Handler):
    """One connection. Overrides of pywsgi's methods, to spend less and to log in our way."""

    server: Server

    def handle(self) -> None:
        """All requests of the connection. That nginx closed it, its client being gone, is no event for the log."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def handle_one_response(self) -> None:
        server = self.server
        server.in_flight += 1
        try:
            if not (self.wsgi_input is wsgi.NOTHING_LEFT and self._reply(server)):
                super().handle_one_response()
        finally:
            server.in_flight -= 1
            server.in_flight_by_model.leave(self.environ)

    def _reply(self, server: Server) -> bool:
        """Answer a request that has come whole past WSGI, in one write; False leaves the answer to pywsgi."""
        self.headers_sent = False
        try:
            reply = server.application.reply(self.environ)
        except Exception:
            self.handle_error(*sys.exc_info())
            return True
        if reply is None:
            return False
        if isinstance(reply.body, bytes) and len(reply.body) <= ONE_WRITE_BYTES:
            draining = server.draining
            response = wsgi.plain_response(reply.status, reply.headers, reply.body, draining)
            if response is not None:
                try:
                    wsgi.send(self.socket, response)
                except OSError:
                    self.close_connection = True
                if draining:
                    self.close_connection = True
                return True
        self.application = reply.as_application
        return False

    def finalize_headers(self) -> None:
        self.provided_date = ""  # nginx sends a Date of its own
        super().finalize_headers()
        if self.server.draining:
            self.response_headers.append((b"Connection", b"close"))
            self.close_connection = True

    def _write_with_headers(self, data: bytes) -> None:
        """Head and body in one write, which wakes nginx once."""
        self.headers_sent = True
        self.finalize_headers()
        lines = [b"HTTP/1.1 " + self.status]
        lines += [name + b": " + value for name, value in self.response_headers]
        head = b"\r\n".join(lines) + b"\r\n\r\n"
        if not self.response_use_chunked and len(data) <= ONE_WRITE_BYTES:
            self._sendall(head + data)
        else:
            self._sendall(head)
            self._write(data)

    def _send_error_response_if_possible(self, error_code: int) -> None:
        """What pywsgi does, in JSON; the cause is in the log."""
        if self.response_length or self.headers_sent:
            self.close_connection = True
            return
        text = INTERNAL_ERROR if error_code == 500 else BAD_BODY
        body = json.dumps({"error": text}).encode()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self._sendall(_closing_answer(error_code, body))

    def _handle_client_error(self, error: Exception) -> tuple[str, bytes]:
        """The answer to a request whose head nobody can read; nginx lets few of those pass."""
        log.warning("A request cannot be read: %s.", error)
        status = getattr(getattr(self, "headers", None), "status", "")
        text = f"The request cannot be read: {status or BAD_HEAD}."
        return "400", _closing_answer(400, json.dumps({"error": text}).encode())

    def handle_error(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        """What pywsgi does; but a request whose body is gone is not answered."""
        if isinstance(error, BodyGone):
            if not isinstance(error, BodyCut):  # which is its client's end, and no event for the log
                log.warning("The model server gave no result for a large request, which nginx sends again.")
            self.close_connection = True
        else:
            super().handle_error(kind, error, trace)

    def log_request(self) -> None:
        """Nginx has the access log."""

    def log_error(self, message: str, *args: Any) -> None:
        log.warning(message, *args)

    def _log_error(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if not issubclass(kind, (gevent.GreenletExit, StreamFailed)):
            log.error("A request failed: %r.", error, exc_info=(kind, error, trace))


def _closing_answer(status: int, body: bytes) -> bytes:
    """A whole answer after which the connection is closed."""
    head = (
        f"HTTP/1.1 {status} {http.client.responses[status]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


class Server(pywsgi.WSGIServer):
    """Serves an application on a listening socket."""

    def __init__(
        self,
        listener: Any,
        application: Application,
        in_flight: InFlight | None = None,
        *,
        shared: bool = False,
    ) -> None:
        """`shared` says that other processes accept on the listener too: then one connection is taken at a time."""
        super().__init__(
            listener,
            application,
            log=None,
            error_log=log,
            handler_class=Handler,
            environ={"wsgi.multiprocess": shared},
        )
        self.in_flight = 0
        self.in_flight_by_model = in_flight or InFlight()
        self.draining = False

    def drain(self, seconds: float) -> int:
        """Accept nothing more and wait for what is in flight; returns how many requests are unfinished.

        Connections that wait in the socket's backlog stay there for the next process.
        """
        self.draining = True
        self.stop_accepting()
        deadline = time.monotonic() + seconds
        while self.in_flight and time.monotonic() < deadline:
            gevent.sleep(0.02)
        return self.in_flight


def inherited_listener(descriptor: int) -> Any:
    """The listening socket behind an inherited file descriptor, as a gevent socket that children don't get.

    Raises OSError: it is not a socket, or does not listen.
    """
    listener = socket.socket(fileno=descriptor)
    if not listener.getsockopt(flags.SOL_SOCKET, flags.SO_ACCEPTCONN):
        raise OSError("it does not listen")
    return listener
