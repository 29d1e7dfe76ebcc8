"""A model server's answer as the `requests.Response` that user code relies on.

It is made for every request of an `input_handler`/`output_handler` pair, so what costs time (headers, cookies,
the request) is made when it is first looked at.
"""

from __future__ import annotations

import datetime
import http.client
import io
from functools import cached_property
from typing import Any

import requests
import urllib3
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers

from tfsd.worker.upstream.connection import Answer


class ModelServerResponse(requests.Response):
    """A complete `requests.Response`: the body is read, the connection is already back in its pool."""

    def __init__(self, answer: Answer, method: str, url: str, elapsed: float) -> None:
        """Wrap `answer` to `method` on `url`, which took `elapsed` seconds.

        Does not call the base class, whose attributes are either set here or made on demand below.
        """
        self._answer = answer
        self._method = method
        self._content = answer.body
        self._content_consumed = True
        self._next = None
        self.status_code = answer.status
        self.url = url
        self._seconds = elapsed

    @cached_property
    def headers(self) -> CaseInsensitiveDict[str]:  # type: ignore[override]
        return CaseInsensitiveDict(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in self._answer.headers
        )

    @cached_property
    def elapsed(self) -> datetime.timedelta:  # type: ignore[override]
        return datetime.timedelta(seconds=self._seconds)

    @cached_property
    def reason(self) -> str:  # type: ignore[override]
        return http.client.responses.get(self._answer.status, "")

    @cached_property
    def encoding(self) -> str | None:  # type: ignore[override]
        return get_encoding_from_headers(self.headers)

    @cached_property
    def history(self) -> list[requests.Response]:  # type: ignore[override]
        return []

    @cached_property
    def cookies(self) -> RequestsCookieJar:  # type: ignore[override]
        return RequestsCookieJar()

    @cached_property
    def request(self) -> requests.PreparedRequest:  # type: ignore[override]
        return requests.Request(self._method, self.url).prepare()

    @cached_property
    def raw(self) -> Any:  # type: ignore[override]
        return urllib3.HTTPResponse(
            io.BytesIO(self._answer.body), self.headers, self.status_code, preload_content=False
        )
