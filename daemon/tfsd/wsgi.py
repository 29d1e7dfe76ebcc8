"""gevent's WSGI server for less: request headers as a dictionary, and an environment with what applications read.

pywsgi reads headers with the standard library's parser of e-mails, which costs as much as all the rest of a request. A
plain request is read here in one piece, and lines that came before are remembered; whatever else HTTP allows is left
to pywsgi.
"""

from __future__ import annotations

import http.client
import io
import re
from functools import lru_cache
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

from gevent import pywsgi

from tfsd.incoming import READ_BYTES, Arriving, Incoming
from tfsd.readable import Readable

MAX_HEADERS = 200
MAX_LINE_BYTES = 64 * 1024
HTTP_11 = "HTTP/1.1"
NOT_PLAIN = {"HTTP_TRANSFER_ENCODING", "HTTP_EXPECT", "HTTP_CONNECTION", "HTTP_UPGRADE"}  # of requests
CLOSE = b"Connection: close\r\n"
FRAMING = {"connection", "content-length", "date"}  # of responses
REMEMBERED = 256
REMEMBERED_LENGTH = 4096  # of a request's head
# what nginx writes anew for each request
OWN = ("HTTP_X_TFSD_REQUEST_ID", "HTTP_X_TFSD_PASSED_ON", "CONTENT_LENGTH")
_HEAD_OF_NGINX = re.compile(  # one after the other, after Host: the order of conf/request_headers.conf, and nginx's own
    r"([^\r]*\r\n[^\r]*)\r\nX-Tfsd-Request-Id: (\S.*\S)\r\nX-Tfsd-Passed-On: (\S.*\S)\r\nContent-Length: ([0-9]+)"
    r"((?:\r\n(?s:.*))?)"
)


class Headers:
    """Request headers as pywsgi wants them."""

    __slots__ = ("_values", "pairs", "status")

    def __init__(self, stream: BinaryIO) -> None:
        """Read header lines up to the empty one. A non-empty `status` says why they are refused."""
        self.status = ""
        self.pairs: list[tuple[str, str]] = []
        self._values: dict[str, str] = {}
        while (line := stream.readline(MAX_LINE_BYTES)) not in (b"\r\n", b"\n"):
            name, colon, value = line.decode("latin-1").partition(":")
            if len(self.pairs) == MAX_HEADERS:
                self.status = f"it has more than {MAX_HEADERS} headers"
                return
            if not name or not colon or line[-1:] != b"\n" or name[0] in " \t":
                self.status = f"line {len(self.pairs) + 1} of its headers is malformed"
                return
            self.pairs.append((name, value := value.strip()))
            self._values[name.lower()] = value

    def get(self, name: str, default: str | None = None) -> str | None:
        return self._values.get(name.lower(), default)

    def __delitem__(self, name: str) -> None:
        del self._values[name.lower()]


@lru_cache(REMEMBERED)
def _cgi_name(name: str) -> str | None:
    """The name in the WSGI environment; None for one with an underscore, which could pass for another."""
    if "_" in name:
        return None
    cgi = name.upper().replace("-", "_")
    return cgi if cgi in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + cgi


def _plain_first_line(line: str) -> dict[str, str] | None:
    """What the first line of a plain request means in WSGI's environment; None for any other."""
    words = line.split(" ")
    if len(words) != 3 or not words[0].isalpha() or words[0] == "HEAD" or not words[1] or words[2] != HTTP_11:
        return None
    if "\n" in line:
        return None
    return _first_line(*words)


def _first_line(command: str, uri: str, version: str) -> dict[str, str]:
    path, _, query = uri.partition("?")
    return {
        "REQUEST_METHOD": command,
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1") if "%" in path else path,
        "QUERY_STRING": query,
        "REQUEST_URI": uri,
        "SERVER_PROTOCOL": version,
    }


@lru_cache(REMEMBERED)
def _plain_name(name: str) -> str | None:
    """A header's name in WSGI's environment; None for one that is for pywsgi to read."""
    if not name or name[0] in " \t" or "\n" in name:
        return None
    key = _cgi_name(name)
    return None if key in NOT_PLAIN else key


def _plain_fields(head: str) -> dict[str, Any] | None:
    """A plain request's first line and its headers in WSGI's environment, those of one name joined; None when one of
    them is for pywsgi to read, or there are many."""
    first, *lines = head.split("\r\n")
    known = _plain_first_line(first)
    if known is None or len(lines) + len(OWN) > MAX_HEADERS:
        return None
    fields: dict[str, Any] = {**known, "wsgi.input": None, "wsgi.input_terminated": True}
    for line in lines:
        name, colon, value = line.partition(":")
        key = _plain_name(name)
        if key is None or not colon or "\n" in value:
            return None
        value = value.strip()
        fields[key] = f"{fields[key]},{value}" if key in fields else value
    return fields


def _plain_rest(before: str, after: str) -> dict[str, Any] | None:
    """The same of what stands before and after nginx's own headers, with their names; None when one of those comes
    again: in which order the values are joined is for pywsgi to see."""
    fields = _plain_fields(before + after)
    if fields is None or not fields.keys().isdisjoint(OWN):
        return None
    return {**fields, **dict.fromkeys(OWN)}


_remembered_rest = lru_cache(REMEMBERED)(_plain_rest)


def plain_environ(head: bytes) -> dict[str, Any] | None:
    """The environment of a plain request, which has a length; None when its head says anything out of the way.

    What clients send is much the same each time: all but nginx's own headers is remembered as a whole.
    """
    text = head.decode("latin-1")
    match = _HEAD_OF_NGINX.fullmatch(text)
    if match is None:
        environ = _plain_fields(text)
        length = "" if environ is None else environ.get("CONTENT_LENGTH", "")
        return environ if length.isascii() and length.isdigit() else None
    before, request_id, passed_on, length, after = match.groups()
    fields = (_remembered_rest if len(text) <= REMEMBERED_LENGTH else _plain_rest)(before, after)
    if fields is None:
        return None
    environ = fields.copy()
    environ["HTTP_X_TFSD_REQUEST_ID"] = request_id
    environ["HTTP_X_TFSD_PASSED_ON"] = passed_on
    environ["CONTENT_LENGTH"] = length
    return environ


@lru_cache(REMEMBERED)
def _plain_status(status: str) -> tuple[bytes, int] | None:
    """A response's status line and its code; None for one that is for pywsgi to judge."""
    code = status[:3]
    if not (status.isascii() and status.isprintable() and code.isdigit() and status[3:4] == " "):
        return None
    return None if code < "200" or code in ("204", "304") else (status.encode(), int(code))


@lru_cache(REMEMBERED)
def _plain_response_field(name: str, value: str) -> tuple[bytes, bytes] | None:
    """A response's header, encoded; None for one that is for pywsgi to judge."""
    text = name + value
    if name.lower() in FRAMING or not (text.isascii() and text.isprintable()):
        return None
    return name.encode(), value.encode()


def status_line(code: int) -> str:
    """A status as WSGI wants it."""
    return f"{code} {http.client.responses.get(code, 'Unknown')}"


@lru_cache(REMEMBERED)
def _plain_response_head(status: int, *headers: tuple[str, str]) -> bytes | None:
    """A response's head up to its length; None for one that is for pywsgi to judge."""
    known = _plain_status(status_line(status))
    fields = [_plain_response_field(name, value) for name, value in headers]
    if known is None or None in fields:
        return None
    lines = b"".join(b"%b: %b\r\n" % field for field in fields if field is not None)
    return b"HTTP/1.1 %b\r\n%b" % (known[0], lines)


def plain_response(
    status: int, headers: list[tuple[str, str]], body: bytes, close: bool = False
) -> bytes | None:
    """A whole response to a plain request; None for one that is for pywsgi to judge. `close` announces the end of the
    connection."""
    head = _plain_response_head(status, *headers)
    if head is None:
        return None
    return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, CLOSE if close else b"", len(body), body)


def send(sock: Any, message: bytes) -> None:
    """Send all of a message that the kernel takes at once, as a rule; gevent's own methods are ready for what has to
    wait first. Raises OSError."""
    try:
        sent = sock._sock.send(message)
    except BlockingIOError:
        sent = 0
    if sent < len(message):
        sock.sendall(message[sent:])


class _NothingLeft:
    """Of a body that has been received already."""

    def _discard(self) -> None:
        """Read what is left of the body off the connection, as pywsgi asks its own inputs."""


NOTHING_LEFT = _NothingLeft()


class Handler(pywsgi.WSGIHandler):
    """One connection."""

    wsgi_input: Any

    def __init__(self, sock: Any, address: Any, server: Any, come: Readable | None = None) -> None:
        """`come` says when something can be received from `sock`."""
        self._incoming = Incoming(sock, come or Readable(sock))
        self._buffered = False  # whether `rfile` may hold something
        super().__init__(sock, address, server, io.BufferedReader(self._incoming, READ_BYTES))

    def handle(self) -> None:
        """All requests of the connection."""
        try:
            super().handle()
        finally:
            self._incoming.close()

    def handle_one_request(self) -> Any:
        """Serve a request; see pywsgi for what is returned."""
        if self._buffered:
            self._empty_buffer()
        try:
            received = self._incoming.beginning()
        except OSError:
            return None
        head, end, body = received.partition(b"\r\n\r\n")
        environ = plain_environ(head) if end else None
        if environ is None:
            self._leave(received)
            return super().handle_one_request()
        length = int(environ["CONTENT_LENGTH"])
        if length > len(body):
            self._leave(body)
            environ["wsgi.input"] = self.wsgi_input = Arriving(self.rfile, length, self._incoming)
        else:
            if length < len(body):
                self._incoming.put_back(body[length:])
                body = body[:length]
            environ["wsgi.input"], self.wsgi_input = io.BytesIO(body), NOTHING_LEFT
        self.environ, self.request_version = environ, HTTP_11
        self.application = self.server.application
        self.close_connection = False
        self.response_length = 0
        self.handle_one_response()
        return None if self.close_connection else True

    def _leave(self, received: bytes) -> None:
        """Leave what has been received to whoever reads `rfile`."""
        self._incoming.put_back(received)
        self._buffered = True

    def _empty_buffer(self) -> None:
        """Put what `rfile` holds back to where it came from."""
        self._incoming.dry = True
        self._incoming.put_back(self.rfile.read(len(self.rfile.peek())))
        self._incoming.dry = self._buffered = False

    def handle_one_response(self) -> None:
        """What pywsgi does, with what a plain request's environment lacks: that which is the same for all."""
        self.environ.update(self.server.environ)
        super().handle_one_response()

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """What pywsgi does, without checking and encoding again what it has seen."""
        known = None if exc_info or self.request_version != HTTP_11 else _plain_status(status)
        fields: list[Any] = [_plain_response_field(name, value) for name, value in headers]
        if known is None or None in fields:
            return super().start_response(status, headers, exc_info)
        self.status, self.code = known
        self.response_headers = fields
        self.provided_date: str | None = None
        self.provided_content_length: str | None = None
        return self.write

    def MessageClass(self, stream: BinaryIO, _seekable: int) -> Headers:
        return Headers(stream)

    def get_environ(self) -> dict[str, Any]:
        environ = self.server.get_environ()
        environ.update(_first_line(self.command, self.path, self.request_version))
        for name, value in self.headers.pairs:
            key = _cgi_name(name)
            if key is not None:
                environ[key] = f"{environ[key]},{value}" if key in environ else value
        chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        self.wsgi_input = pywsgi.Input(
            self.rfile,
            self.content_length,
            socket=self.socket if environ.get("HTTP_EXPECT") == "100-continue" else None,
            chunked_input=chunked,
        )
        environ["wsgi.input"] = self.wsgi_input
        environ["wsgi.input_terminated"] = True
        return environ
