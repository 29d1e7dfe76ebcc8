"""gevent's WSGI server for less: request headers as a dictionary, and an environment with what applications read.

pywsgi reads headers with the standard library's parser of e-mails, which costs as much as all the rest of a request.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

from gevent import pywsgi

MAX_HEADERS = 200
MAX_LINE_BYTES = 64 * 1024


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


@lru_cache(256)
def _cgi_name(name: str) -> str | None:
    """The name in the WSGI environment; None for one with an underscore, which could pass for another."""
    if "_" in name:
        return None
    cgi = name.upper().replace("-", "_")
    return cgi if cgi in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + cgi


class Handler(pywsgi.WSGIHandler):
    """One connection."""

    def MessageClass(self, stream: BinaryIO, _seekable: int) -> Headers:
        return Headers(stream)

    def get_environ(self) -> dict[str, Any]:
        environ = self.server.get_environ()
        path, _, query = self.path.partition("?")
        environ["REQUEST_METHOD"] = self.command
        environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1") if "%" in path else path
        environ["QUERY_STRING"] = query
        environ["REQUEST_URI"] = self.path
        environ["SERVER_PROTOCOL"] = self.request_version
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
