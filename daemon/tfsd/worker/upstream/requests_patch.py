"""A handler's own `requests.post(context.rest_uri, …)` over the pooled connections, with the same fail-over.

Replaces `requests.request` for the addresses of the model servers only, and only where the call is simple
enough to mean exactly the same; all else goes to the real `requests`. Must be installed before user code is
imported, so that `from requests import request` gets it too.
"""

from __future__ import annotations

import json as stdlib_json
import re
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import gevent
import requests

from tfsd.worker.upstream.client import Group, ModelServerDown, ModelServers
from tfsd.worker.upstream.deadline import current_deadline
from tfsd.worker.upstream.last_answer import last_answer
from tfsd.worker.upstream.response import ModelServerResponse

SIMPLE = {"data", "json", "headers", "timeout", "params"}
OWN_HEADERS = {"host", "connection", "content-length", "transfer-encoding", "expect", "accept-encoding"}
REMEMBERED_URLS = 512
_PATH = re.compile(r"/[A-Za-z0-9._~%!$&'()*+,;=:@/?-]*")  # what `requests` would send as it stands
_HEADER = re.compile(r"[A-Za-z0-9-]+: [\x20-\x7e]*")


class ModelServerUnreachable(requests.ConnectionError, ModelServerDown):
    """What the real `requests` would raise, and a 503 with Retry-After if the handler lets it pass."""

    def __init__(self, error: ModelServerDown) -> None:
        requests.ConnectionError.__init__(self, error.message)
        self.status, self.message, self.headers = error.status, error.message, error.headers


class Route(NamedTuple):
    """Where a URL leads: a model's servers, and the path with the query."""

    group: Group
    path: str


def install(servers: ModelServers, limit: float) -> Callable[[], None]:
    """Patch `requests` in this process; the function that is returned undoes it.

    Args:
        servers: the model servers that are reached through their pools.
        limit: seconds to wait for a model server that is down, outside of any request.
    """
    original = requests.api.request
    pool = Pool(servers, limit)

    def request(method: str, url: str, **kwargs: Any) -> requests.Response:
        response = pool.request(method, url, kwargs)
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
        self._route = lru_cache(REMEMBERED_URLS)(self._find_route)

    def request(self, method: str, url: Any, kwargs: Mapping[str, Any]) -> requests.Response | None:
        """Do what `requests.request` would do, or return None: this is for the real one.

        Raises requests.ConnectionError or requests.ReadTimeout.
        """
        if not isinstance(url, str) or not isinstance(method, str) or not kwargs.keys() <= SIMPLE:
            return None
        if kwargs.get("params"):
            url = _with_params(url, kwargs["params"])
        route = self._route(url)
        method = method.upper()
        message = None if route is None else _message(method, route.path, kwargs)
        timeout = kwargs.get("timeout")
        if route is None or message is None or not (timeout is None or _is_plain_timeout(timeout)):
            return None
        head, body = message
        started = time.monotonic()
        deadline = current_deadline.get(None) or started + self._limit
        limit = timeout[1] if isinstance(timeout, tuple) else timeout
        timer = None if limit is None else gevent.Timeout.start_new(limit)
        if limit is not None:
            deadline = min(deadline, started + limit)
        try:
            answer = route.group.send(head, body, deadline)
        except ModelServerDown as error:
            raise ModelServerUnreachable(error) from None
        except gevent.Timeout as expired:
            if expired is not timer:
                raise
            raise requests.ReadTimeout(f"{url}: no response within {limit:g} s") from None
        finally:
            if timer is not None:
                timer.close()
        last_answer.set(answer)
        return ModelServerResponse(answer, method, url, time.monotonic() - started)

    def _find_route(self, url: str) -> Route | None:
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
        return Route(group, path)


def _message(method: str, path: str, kwargs: Mapping[str, Any]) -> tuple[bytes, bytes] | None:
    """Head and body of the request, or None if the real `requests` must make them."""
    if method not in ("GET", "POST"):
        return None
    content = _body(kwargs.get("data"), kwargs.get("json"))
    lines = _header_lines(kwargs.get("headers"))
    if content is None or lines is None:
        return None
    body, content_type = content
    if content_type and not any(line[:13].lower() == "content-type:" for line in lines):
        lines.append(f"Content-Type: {content_type}")
    length = b"Content-Length: %d\r\n" % len(body) if body or method == "POST" else b""
    return _head_start(method, path, *lines) + length + b"\r\n", body


@lru_cache(REMEMBERED_URLS)
def _head_start(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines, ""]).encode("ascii")


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


def _header_lines(headers: Any) -> list[str] | None:
    if not headers:
        return []
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    simple = all(isinstance(value, str) for value in headers.values()) and all(map(_HEADER.fullmatch, lines))
    if not simple or OWN_HEADERS & {str(name).lower() for name in headers}:
        return None
    return lines


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
