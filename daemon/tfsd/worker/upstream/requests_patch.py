"""A handler's own `requests.post(context.rest_uri, …)` over the pooled connections, with the same fail-over.

Replaces `requests.request` for the addresses of the model servers only, and only where the call is simple
enough to mean exactly the same; all else goes to the real `requests`. Must be installed before user code is
imported, so that `from requests import request` gets it too.
"""

from __future__ import annotations

import json as stdlib_json
import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import gevent
import requests

from tfsd.worker.upstream.client import Group, ModelServerDown, ModelServers
from tfsd.worker.upstream.connection import Answer
from tfsd.worker.upstream.current import current
from tfsd.worker.upstream.response import ModelServerResponse

OWN_HEADERS = {"host", "connection", "content-length", "transfer-encoding", "expect", "accept-encoding"}
REMEMBERED_URLS = 512
_PATH = re.compile(r"/[A-Za-z0-9._~%!$&'()*+,;=:@/?-]*")  # what `requests` would send as it stands
_HEADER = re.compile(r"[A-Za-z0-9-]+: [\x20-\x7e]*")


class ModelServerUnreachable(requests.ConnectionError, ModelServerDown):
    """What the real `requests` would raise, and a 503 with Retry-After if the handler lets it pass."""

    def __init__(self, error: ModelServerDown) -> None:
        requests.ConnectionError.__init__(self, error.message)
        self.status, self.message, self.headers = error.status, error.message, error.headers


class Way(NamedTuple):
    """Where a request goes, and how its head begins: all of it but Content-Length and the empty line."""

    group: Group
    method: str
    head: bytes


def install(servers: ModelServers, limit: float) -> Callable[[], None]:
    """Patch `requests` in this process; the function that is returned undoes it.

    Args:
        servers: the model servers that are reached through their pools.
        limit: seconds to wait for a model server that is down, outside of any request.
    """
    original = requests.api.request
    pool = Pool(servers, limit)

    def request(method: str, url: str, **kwargs: Any) -> requests.Response:
        response = pool.request(method, url, **kwargs)
        return original(method, url, **kwargs) if response is None else response

    request.__doc__ = original.__doc__
    _replace(request)

    def uninstall() -> None:
        _replace(original)

    return uninstall


def _replace(function: Any) -> None:
    requests.api.request = requests.request = function


class Pool:
    """`requests.request` for the model servers."""

    def __init__(self, servers: ModelServers, limit: float) -> None:
        self._servers = servers
        self._limit = limit
        self._way = lru_cache(REMEMBERED_URLS)(self._find_way)

    def request(
        self,
        method: str,
        url: Any,
        *,
        data: Any = None,
        json: Any = None,
        headers: Any = None,
        timeout: Any = None,
        params: Any = None,
        **others: Any,
    ) -> requests.Response | None:
        """Do what `requests.request` would do, or return None: this is for the real one.

        Raises requests.ConnectionError or requests.ReadTimeout.
        """
        if others or not isinstance(url, str) or not isinstance(method, str):
            return None
        if params:
            url = _with_params(url, params)
        content = _body(data, json)
        lines = _header_lines(headers) if headers else ()
        if content is None or lines is None or not (timeout is None or _is_plain_timeout(timeout)):
            return None
        body, content_type = content
        if content_type and not any(line[:13].lower() == "content-type:" for line in lines):
            lines = (*lines, f"Content-Type: {content_type}")
        way = self._way(method, url, *lines)
        if way is None:
            return None
        length = b"Content-Length: %d\r\n" % len(body) if body or way.method == "POST" else b""
        head = b"%b%b\r\n" % (way.head, length)
        asking = current.get()
        started = time.monotonic()
        deadline = started + self._limit if asking is None else asking.deadline
        try:
            if timeout is None:
                answer = way.group.send(head, body, deadline)
            else:
                answer = _send_within(timeout, way.group, head, body, deadline, url)
        except ModelServerDown as error:
            raise ModelServerUnreachable(error) from None
        if asking is not None:
            asking.answered = answer
        return ModelServerResponse(answer, way.method, url, time.monotonic() - started)

    def _find_way(self, method: str, url: str, *lines: str) -> Way | None:
        """The way of a request with those headers; None when the real `requests` must make it."""
        method = method.upper()
        try:
            parts = urlsplit(url)
            group = self._servers.of_port(parts.port or 0)
        except ValueError:
            return None
        if group is None or parts.scheme != "http" or "@" in parts.netloc or parts.fragment:
            return None
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        if parts.hostname not in ("localhost", "127.0.0.1") or not _PATH.fullmatch(path):
            return None
        if method not in ("GET", "POST"):
            return None
        head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines, ""])
        return Way(group, method, head.encode("ascii"))


def _send_within(timeout: Any, group: Group, head: bytes, body: bytes, deadline: float, url: str) -> Answer:
    """Send a request that has a `timeout` of its own. Raises requests.ReadTimeout, ModelServerDown."""
    seconds = timeout[1] if isinstance(timeout, tuple) else timeout
    if seconds is None:
        return group.send(head, body, deadline)
    limit = gevent.Timeout.start_new(seconds)
    try:
        return group.send(head, body, min(deadline, time.monotonic() + seconds))
    except gevent.Timeout as expired:
        if expired is not limit:
            raise
        raise requests.ReadTimeout(f"{url}: no response within {seconds:g} s") from None
    finally:
        limit.close()


def _body(data: Any, json: Any) -> tuple[bytes, str | None] | None:
    """The body and its content type as `requests` would make them; None for forms, generators and such."""
    if data:
        if isinstance(data, str):
            return data.encode(), None
        if isinstance(data, (bytes, bytearray)):
            return bytes(data), None
        return None
    if json is None:
        return b"", None
    try:
        return stdlib_json.dumps(json, allow_nan=False).encode(), "application/json"
    except ValueError:
        return None  # the real one raises its own error


def _header_lines(headers: Any) -> tuple[str, ...] | None:
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    simple = all(isinstance(value, str) for value in headers.values()) and all(map(_HEADER.fullmatch, lines))
    if not simple or OWN_HEADERS & {str(name).lower() for name in headers}:
        return None
    return tuple(lines)


def _is_plain_timeout(timeout: Any) -> bool:
    """Whether it is None, seconds or (connect, read), of which only the second counts: connecting to this machine
    takes no time. Anything else, such as urllib3's Timeout or a number below zero, is the real one's affair."""
    parts = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    return len(parts) == 2 and all(
        part is None or (type(part) in (int, float) and part > 0) for part in parts
    )


def _with_params(url: str, params: Any) -> str:
    prepared = requests.PreparedRequest()
    prepared.prepare_url(url, params)
    return prepared.url or url
