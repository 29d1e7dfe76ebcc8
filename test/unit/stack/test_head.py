"""nginx before 1.23 tells by the length of a usual request's head that no header has a second line."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.nginx import RunningNginx
from tfsd.stack.templates import render

HTTP = """
    client_max_body_size 0;
    keepalive_requests 1000000;
    large_client_header_buffers 4 64k;
    server {
        listen LISTEN;
        location / {
            include head.conf;
            add_header X-Plain "[$plain_head]";
            return 200;
        }
    }
"""
USUAL = {
    "Content-Type": "application/json",
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": "python-requests/2.32.3",
    "Connection": "keep-alive",
}
Sent = Callable[[list[tuple[str, str]]], bool]


@pytest.fixture(scope="module")
def is_plain(start_nginx: Callable[..., RunningNginx]) -> Iterator[Sent]:
    connection = start_nginx(HTTP, {"head.conf": render("head.conf", joins_lines=False)}).connect()

    def send(
        headers: list[tuple[str, str]], host: str = "localhost", body: bytes = b"{}", path: str = "/"
    ) -> bool:
        connection.putrequest("POST", path, skip_host=True, skip_accept_encoding=True)
        for name, value in [("Host", host), ("Content-Length", str(len(body))), *headers]:
            connection.putheader(name, value)
        connection.endheaders(body)
        response: http.client.HTTPResponse = connection.getresponse()
        response.read()
        return response.headers["X-Plain"] == "[1]"

    yield send
    connection.close()


VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=90)


@settings(max_examples=200)
@given(values=st.dictionaries(st.sampled_from(list(USUAL)[:-1]), VALUES), order=st.randoms())
def test_usual_headers_in_any_order(is_plain: Sent, values: dict[str, str], order: object) -> None:
    headers = list(values.items())
    order.shuffle(headers)  # type: ignore[attr-defined]
    assert is_plain(headers)


@pytest.mark.parametrize("length", [1, 9, 10, 60, 99, 100, 101, 400, 700])
def test_heads_of_any_length(is_plain: Callable[..., bool], length: int) -> None:
    assert is_plain(
        list(USUAL.items()), host="h" * length, body=b"x" * 12_345, path="/" + "p" * (100 - length // 7)
    )


def test_a_head_of_a_thousand_bytes_is_not_usual(is_plain: Sent) -> None:
    assert not is_plain([("User-Agent", "x" * 1000)])


@pytest.mark.parametrize("name", [*USUAL, "Host", "X-Other", "X-Amzn-SageMaker-Custom-Attributes"])
@pytest.mark.parametrize("value", ["", "x", "application/json"])
def test_one_line_more(is_plain: Sent, name: str, value: str) -> None:
    for at in range(len(USUAL) + 1):
        headers = list(USUAL.items())
        headers.insert(at, (name, value))
        if name != "Host":  # which nginx refuses
            assert not is_plain(headers)


@settings(max_examples=200)
@given(
    values=st.dictionaries(st.sampled_from(list(USUAL)[:-1]), VALUES),
    more=st.lists(st.tuples(st.sampled_from([*USUAL][:-1]), VALUES | st.just("")), min_size=1, max_size=3),
)
def test_second_lines(is_plain: Sent, values: dict[str, str], more: list[tuple[str, str]]) -> None:
    headers = [*values.items(), *more]
    names = [name for name, _ in headers]
    several = len(set(names)) < len(names) or any(not value for _, value in more)
    assert is_plain(headers) != several
