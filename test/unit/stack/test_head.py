"""nginx before 1.23 tells by the length of a usual request's head that no header has a second line."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.nginx import RunningNginx
from tfsd.stack.design import LINES_TYPES
from tfsd.stack.nginx import Nginx
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
            add_header X-Usual "[$usual_json]";
            add_header X-Usual-Lines "[$usual_lines]";
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
PARAMETERS = {
    "json_accepts": ("application/json", "", "*/*"),
    "lines_types": LINES_TYPES,
    "multi_model": False,
}
Sent = Callable[[list[tuple[str, str]]], bool]


@pytest.fixture(scope="module")
def is_plain(start_nginx: Callable[..., RunningNginx]) -> Iterator[Sent]:
    connection = start_nginx(
        HTTP,
        {"head.conf": render("head.conf", joins_lines=False, **PARAMETERS)},
    ).connect()

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


@pytest.fixture(scope="module")
def usual(any_nginx: Nginx, start_nginx: Callable[..., RunningNginx]) -> Iterator[Callable[..., bool]]:
    """Whether a head with these headers is known at one look to ask for nothing but the default."""
    head = render("head.conf", joins_lines=any_nginx.joins_lines, **PARAMETERS)
    connection = start_nginx(HTTP, {"head.conf": head}).connect()

    def send(
        *more: tuple[str, str],
        method: str = "POST",
        path: str = "/invocations",
        body: bytes = b"{}",
        wanted: str = "json",
        **changed: str | None,
    ) -> bool:
        connection.putrequest(method, path, skip_accept_encoding=True)
        headers = {**USUAL, **{name.replace("_", "-"): value for name, value in changed.items()}}
        given = [(name, value) for name, value in headers.items() if value is not None]
        for name, value in [("Content-Length", str(len(body))), *given, *more]:
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        response.read()
        usual, usual_lines = (response.headers[name] != "[]" for name in ("X-Usual", "X-Usual-Lines"))
        assert not usual or not usual_lines
        return usual_lines if "lines" in wanted else usual

    yield send
    connection.close()


def test_what_a_usual_client_sends(usual: Callable[..., bool]) -> None:
    assert usual()
    assert usual(Accept="application/json")
    assert usual(**dict.fromkeys(USUAL))
    assert usual(Accept=None)
    assert usual(Content_Type=None)
    assert usual(body=b"x" * 9999)
    assert usual(path="/" + "x" * 500)


@pytest.mark.parametrize("content_type", LINES_TYPES)
def test_lines_of_a_usual_client(usual: Callable[..., bool], content_type: str) -> None:
    assert usual(Content_Type=content_type, wanted="lines")
    assert usual(Content_Type=content_type, Accept=None, wanted="lines")
    assert not usual(Content_Type=f"{content_type};", wanted="lines")
    assert not usual(Content_Type=content_type[:-1], wanted="lines")
    assert not usual(Content_Type=content_type, Accept="text/csv", wanted="lines")
    assert not usual(("X", ""), Content_Type=content_type, wanted="lines")


@pytest.mark.parametrize(
    "changed",
    [
        {"Accept": "text/csv"},
        {"Accept": "*"},
        {"Accept": "application/json, */*"},
        {"Accept": "application/jsonlines"},
        {"Content_Type": "text/csv"},
        {"Content_Type": "application/jsonlines"},
        {"Content_Type": "application/json; charset=utf-8"},
        {"method": "PUT"},
        {"method": "GET"},
        {"path": "/invocations?x=y"},
        {"body": b"x" * 10_000},
    ],
    ids=str,
)
def test_what_is_not_json_for_json(usual: Callable[..., bool], changed: dict[str, object]) -> None:
    assert not usual(**changed)


@pytest.mark.parametrize(
    "line",
    [
        ("Content-Encoding", "gzip"),
        ("Accept", "text/csv"),
        ("X-Amzn-SageMaker-Custom-Attributes", ""),
        ("X-Amzn-SageMaker-Custom-Attributes", "tfs-model-name=own"),
        ("X-Amzn-SageMaker-Inference-Id", "1"),
        ("Expect", "100-continue"),
        ("X", ""),
    ],
    ids=str,
)
def test_any_other_header(usual: Callable[..., bool], line: tuple[str, str]) -> None:
    assert not usual(line)


def test_a_body_in_chunks(start_nginx: Callable[..., RunningNginx]) -> None:
    head = render("head.conf", joins_lines=True, **PARAMETERS)
    connection = start_nginx(HTTP, {"head.conf": head}).connect()
    connection.request("POST", "/", iter([b"{}"]), {"Content-Type": "application/json"}, encode_chunked=True)
    assert connection.getresponse().headers["X-Usual"] == "[]"
    connection.close()


def test_where_models_are_many_the_platform_names_one(start_nginx: Callable[..., RunningNginx]) -> None:
    head = render("head.conf", joins_lines=True, **(PARAMETERS | {"multi_model": True}))
    connection = start_nginx(HTTP, {"head.conf": head}).connect()
    target = {"X-Amzn-SageMaker-Target-Model": "a.tar.gz"}
    for headers, usual in ((USUAL, True), (USUAL | target, True), (USUAL | target | {"X-Other": "1"}, False)):
        connection.request("POST", "/models/a/invoke", b"{}", headers)
        response = connection.getresponse()
        response.read()
        assert (response.headers["X-Usual"] != "[]") == usual
    connection.close()
