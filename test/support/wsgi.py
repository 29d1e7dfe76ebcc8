"""A WSGI application, called without a server."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any


def get(app: Callable[..., Any], path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of what the application answers."""
    answer: dict[str, Any] = {}

    def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> None:
        answer.update(status=int(status.split()[0]), headers=dict(headers))

    body = b"".join(
        app({"PATH_INFO": path, "REQUEST_METHOD": method, "wsgi.input": io.BytesIO()}, start_response)
    )
    return answer["status"], answer["headers"], body
