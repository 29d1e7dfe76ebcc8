from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any, cast

import gevent
import pytest
import requests
import urllib3
from stub_model_server import PREDICTIONS, answer

from tfsd.plan import Model, ModelServer
from tfsd.worker.replies import from_exception
from tfsd.worker.upstream import requests_patch
from tfsd.worker.upstream.client import ModelServers
from tfsd.worker.upstream.response import ModelServerResponse


@pytest.fixture
def patched(stub: Any) -> Iterator[Any]:
    server = ModelServer("model-m", stub.port, 0)
    servers = ModelServers({"m": Model("m", "/", (1,), (server,))})
    uninstall = requests_patch.install(servers, 0.5)
    yield stub
    uninstall()
    servers.close_idle()


def url(stub: Any, host: str = "localhost", path: str = "/v1/models/m:predict") -> str:
    return f"http://{host}:{stub.port}{path}"


def test_post_is_pooled_and_the_response_is_true(patched: Any) -> None:
    responses = [requests.post(url(patched), data='{"instances": [1]}') for _ in range(3)]
    assert patched.connections == 1
    response = responses[0]
    assert isinstance(response, requests.Response)
    assert response.status_code == 200
    assert response.ok
    assert bool(response)
    assert response.content == PREDICTIONS
    assert response.text == PREDICTIONS.decode()
    assert response.json() == {"predictions": [3.5, 4.0, 5.5]}
    assert response.headers["content-type"] == "application/json"
    assert response.encoding == "utf-8"
    assert response.reason == "OK"
    assert response.url == url(patched)
    assert response.request.method == "POST"
    assert response.elapsed.total_seconds() > 0
    assert b"".join(response.iter_content(7)) == PREDICTIONS
    assert next(response.iter_lines()) == b"{"
    assert response.raw.read() == PREDICTIONS
    assert response.history == []
    assert len(response.cookies) == 0
    assert not response.is_redirect
    response.raise_for_status()
    response.close()
    assert repr(response) == "<Response [200]>"


def test_an_error_answer(patched: Any) -> None:
    patched.usual = answer(b'{"error": "no"}', "404 Not Found")
    response = requests.get(url(patched, path="/v1/models/n"))
    assert not response.ok
    with pytest.raises(
        requests.HTTPError, match="404 Client Error: Not Found for url: " + url(patched, path="")
    ):
        response.raise_for_status()


def from_imports() -> dict[str, Any]:
    from requests import post
    from requests.api import request

    return {
        "requests.post": requests.post,
        "requests.request": lambda address, **more: requests.request("post", address, **more),
        "from requests import post": post,
        "from requests.api import request": lambda address, **more: request("POST", address, **more),
    }


@pytest.mark.parametrize("way", list(from_imports()))
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_ways_to_call(patched: Any, way: str, host: str) -> None:
    response = from_imports()[way](url(patched, host), json={"instances": [1]})
    assert isinstance(response, ModelServerResponse)
    assert patched.requests[0].json() == {"instances": [1]}


@pytest.mark.parametrize(
    ("kwargs", "body", "content_type"),
    [
        ({"data": "täxt"}, "täxt".encode(), None),
        ({"data": b"bytes"}, b"bytes", None),
        ({"data": ""}, b"", None),
        ({}, b"", None),
        ({"json": {"a": 1}}, b'{"a": 1}', "application/json"),
        ({"json": {}}, b"{}", "application/json"),
        ({"data": "d", "json": {"a": 1}}, b"d", None),
        ({"json": [1], "headers": {"content-type": "x/y"}}, b"[1]", "x/y"),
        ({"data": "d", "headers": {"Content-Type": "application/json"}}, b"d", "application/json"),
    ],
)
def test_bodies_are_those_of_requests(
    patched: Any, kwargs: dict[str, Any], body: bytes, content_type: str | None
) -> None:
    """The same call goes through the pool and, with one more option, through the real requests."""
    assert isinstance(requests.post(url(patched), timeout=10, **kwargs), ModelServerResponse)
    request = patched.requests[0]
    assert request.body == body
    assert request.headers.get("content-type") == content_type
    prepared = requests.Request("POST", url(patched), **kwargs).prepare()
    assert (prepared.body or "") in (body, body.decode())
    assert prepared.headers.get("Content-Type") == content_type


def test_get_with_params(patched: Any) -> None:
    response = requests.get(url(patched, path="/v1/models/m"), params={"a": "b c"})
    assert patched.requests[0].line == "GET /v1/models/m?a=b+c HTTP/1.1"
    assert response.url.endswith("/v1/models/m?a=b+c")


def test_timeout(patched: Any) -> None:
    patched.behaviours = [lambda *_: gevent.sleep(5)]
    with pytest.raises(requests.ReadTimeout):
        requests.post(url(patched), data="{}", timeout=(1, 0.05))
    assert requests.post(url(patched), data="{}").content == PREDICTIONS


def test_a_timeout_of_urllib3_is_kept(patched: Any) -> None:
    # in a thread, since the standard library is not patched here and the stub is in this one
    def post() -> bytes:
        return requests.post(url(patched), data="{}", timeout=cast(Any, urllib3.Timeout(20))).content

    assert gevent.get_hub().threadpool.apply(post) == PREDICTIONS
    with pytest.raises(ValueError, match="timeout"):
        requests.post(url(patched), data="{}", timeout=cast(Any, (3,)))


@pytest.mark.parametrize("timeout", [5, 5.0, (1, 5), (None, 5), (5, None), None])
def test_plain_timeouts_are_pooled(patched: Any, timeout: float | tuple[Any, ...] | None) -> None:
    assert isinstance(requests.post(url(patched), data="{}", timeout=timeout), ModelServerResponse)


def test_a_server_that_is_down(patched: Any) -> None:
    patched.die()
    with pytest.raises(requests.ConnectionError) as raised:
        requests.post(url(patched), data="{}")
    reply = from_exception(raised.value)  # if the handler lets it pass
    assert reply.status == 503
    assert ("Retry-After", "1") in reply.headers
    assert isinstance(reply.body, bytes)
    assert "model-m" in json.loads(reply.body)["error"]


def test_a_server_that_comes_back(patched: Any) -> None:
    requests.post(url(patched), data="{}")
    patched.die()
    gevent.spawn_later(0.1, patched.start)
    assert requests.post(url(patched), data="{}").ok


class EchoHandler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[int]:
    server = http.server.HTTPServer(("127.0.0.1", 0), EchoHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_any_other_address_is_left_alone(patched: Any, elsewhere: int) -> None:
    response = requests.post(f"http://127.0.0.1:{elsewhere}/", data="echo")
    assert response.content == b"echo"
    assert not isinstance(response, ModelServerResponse)


@pytest.mark.parametrize(
    ("method", "address", "kwargs"),
    [
        ("PUT", "http://localhost:{}/v1", {}),
        ("HEAD", "http://localhost:{}/v1", {"allow_redirects": False}),
        ("POST", "https://localhost:{}/v1", {}),
        ("POST", "http://example.com:{}/v1", {}),
        ("POST", "http://user:secret@localhost:{}/v1", {}),
        ("POST", "http://localhost:{}/v1/a b", {}),
        ("POST", "http://localhost:{}/v1/a\r\nX: y", {}),
        ("POST", "http://localhost:{}/v1#there", {}),
        ("POST", "http://localhost:{}", {}),
        ("POST", "http://localhost:notaport{}/v1", {}),
        ("POST", b"http://localhost:{}/v1", {}),
        ("POST", "http://localhost:{}/v1", {"data": {"form": 1}}),
        ("POST", "http://localhost:{}/v1", {"data": iter([b"a"])}),
        ("POST", "http://localhost:{}/v1", {"files": {"a": b"b"}}),
        ("POST", "http://localhost:{}/v1", {"auth": ("a", "b")}),
        ("POST", "http://localhost:{}/v1", {"json": float("nan")}),
        ("POST", "http://localhost:{}/v1", {"headers": {"A": "b\r\nC: d"}}),
        ("POST", "http://localhost:{}/v1", {"headers": {"A": b"b"}}),
        ("POST", "http://localhost:{}/v1", {"headers": {"Host": "b"}}),
        ("POST", "http://localhost:{}/v1", {"headers": {"Accept-Encoding": "gzip"}}),
        ("POST", "http://localhost:{}/v1", {"timeout": urllib3.Timeout(5)}),
        ("POST", "http://localhost:{}/v1", {"timeout": (3,)}),
        ("POST", "http://localhost:{}/v1", {"timeout": [1, 2]}),
        ("POST", "http://localhost:{}/v1", {"timeout": "5"}),
        ("POST", "http://localhost:{}/v1", {"timeout": -1}),
        ("POST", "http://localhost:{}/v1", {"timeout": (1, 0)}),
    ],
)
def test_what_the_real_requests_does(
    stub: Any, method: str, address: bytes | str, kwargs: dict[str, Any]
) -> None:
    servers = ModelServers({"m": Model("m", "/", (1,), (ModelServer("model-m", stub.port, 0),))})
    pool = requests_patch.Pool(servers, 1.0)
    address = address.replace("{}", str(stub.port)) if isinstance(address, str) else address
    assert pool.request(method, address, **kwargs) is None
    assert not stub.requests


def test_uninstalled(stub: Any) -> None:
    before = requests.api.request
    requests_patch.install(ModelServers({}), 1.0)()
    assert requests.api.request is requests.request is before
