"""HTTP to a container: kept connections, and answers whose bodies are read as they come."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, NewConnectionError, ReadTimeoutError
from urllib3.exceptions import TimeoutError as TimedOut

CONNECT_SECONDS = 5
KEPT_CONNECTIONS = 64


class Response:
    """A container's answer: `status`, `headers` (names in any case), and the body, which is still on the wire."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self._at_end: list[Callable[[], None]] = []
        self._body: bytes | None = None

    def at_end(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once, when the body has been read or given up."""
        self._at_end.append(callback)

    def chunks(self) -> Iterator[bytes]:
        """The body's pieces, each as it comes. Raises OSError when it ends early, TimeoutError when it stops."""
        try:
            yield from self._response.stream(64 * 1024, decode_content=False)
        except ReadTimeoutError as error:
            raise TimeoutError(str(error)) from error
        except HTTPError as error:
            raise ConnectionError(str(error)) from error
        finally:
            self.close()

    def read(self) -> bytes:
        """The whole body as the container sent it, as often as asked; the connection goes back to the pool."""
        if self._body is None:
            self._body = b"".join(self.chunks())
        return self._body

    def close(self) -> None:
        """Give up a body that was not read to its end; does nothing after that."""
        if not self._response.closed and not self._response.isclosed():
            self._response.close()
        self._response.release_conn()
        while self._at_end:
            self._at_end.pop()()


class Connection(HTTPConnection):
    """urllib3's, that asks the kernel whether a kept connection has been closed: a poll of gevent costs 30 µs more."""

    @property
    def is_connected(self) -> bool:
        if self.sock is None:
            return False
        plain = getattr(self.sock, "_sock", self.sock)  # of gevent's socket, which would wait
        seconds = plain.gettimeout()
        plain.settimeout(0)  # Python waits whatever the flags say
        try:
            plain.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            plain.settimeout(seconds)
        return False  # closed, or something that nobody asked for


class ConnectionPool(urllib3.HTTPConnectionPool):
    ConnectionCls = Connection


class HttpClient:
    """Requests to one container."""

    def __init__(self, port: int) -> None:
        self._pool = ConnectionPool("127.0.0.1", port, maxsize=KEPT_CONNECTIONS, retries=False)

    def request(
        self,
        method: str,
        path: str,
        seconds: float,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
    ) -> Response:
        """Send a request; `seconds` is for each wait.

        Raises TimeoutError for the time limit, ConnectionRefusedError when nothing was sent, else OSError.
        """
        timeout = urllib3.Timeout(connect=min(CONNECT_SECONDS, seconds), read=seconds)
        try:
            return Response(
                self._pool.urlopen(
                    method,
                    path,
                    body=body,
                    headers=dict(headers or {}),
                    timeout=timeout,
                    redirect=False,
                    preload_content=False,
                    decode_content=False,
                    chunked=body is not None and not isinstance(body, bytes),
                )
            )
        except ReadTimeoutError as error:
            raise TimeoutError(str(error)) from error
        except (NewConnectionError, TimedOut) as error:
            raise ConnectionRefusedError(str(error)) from error
        except HTTPError as error:
            raise ConnectionError(str(error)) from error

    def close(self) -> None:
        self._pool.close()
