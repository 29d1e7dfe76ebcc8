"""A sample request made from a model's signature, as the model server describes it."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tfsd.local.sample_request import sample_request

Serve = Callable[[Any], int]


@pytest.fixture
def metadata() -> Iterator[Serve]:
    """Answer `/v1/models/half%20plus%20two/metadata` with a document; returns the port."""
    servers: list[http.server.HTTPServer] = []

    def serve(document: Any) -> int:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = self.path == "/v1/models/half%20plus%20two/metadata"
                self.send_response(200 if known else 404)
                self.end_headers()
                self.wfile.write(json.dumps(document if known else {"error": "not found"}).encode())

            def log_message(self, *_: Any) -> None:
                pass

        servers.append(http.server.HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return servers[-1].server_port

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def signature(name: str = "serving_default", **inputs: Any) -> Any:
    return {"metadata": {"signature_def": {"signature_def": {name: {"inputs": inputs, "outputs": {}}}}}}


def tensor(dtype: str, *sizes: int) -> Any:
    dimensions = [{"size": str(size), "name": ""} for size in sizes]
    return {"dtype": dtype, "tensor_shape": {"dim": dimensions, "unknown_rank": False}, "name": "x:0"}


@pytest.mark.parametrize(
    ("info", "value"),
    [
        (tensor("DT_FLOAT", -1, 3), [[0.0, 0.0, 0.0]]),
        (tensor("DT_STRING", -1), [""]),
        (tensor("DT_INT64", -1, -1, 2), [[[0, 0]]]),
        (tensor("DT_BOOL"), False),
        ({"dtype": "DT_FLOAT", "tensor_shape": {"unknown_rank": True}}, 0.0),
    ],
)
def test_zeros_of_the_right_shape(metadata: Serve, info: Any, value: Any) -> None:
    port = metadata(signature(x=info))
    assert sample_request("half plus two", port) == {"inputs": {"x": value}}


def test_all_inputs_are_named(metadata: Serve) -> None:
    port = metadata(signature(a=tensor("DT_FLOAT", -1), b=tensor("DT_INT32", -1, 1)))
    assert sample_request("half plus two", port) == {"inputs": {"a": [0.0], "b": [[0]]}}


@pytest.mark.parametrize(
    "document", [signature("other", x=tensor("DT_FLOAT", -1)), signature(), {"error": "no"}, {"metadata": {}}]
)
def test_nothing_without_a_signature_that_serves(metadata: Serve, document: Any) -> None:
    assert sample_request("half plus two", metadata(document)) is None


def test_nothing_of_another_model(metadata: Serve) -> None:
    assert sample_request("other", metadata(signature(x=tensor("DT_FLOAT", -1)))) is None


def test_nothing_without_a_model_server(free_port: int) -> None:
    assert sample_request("half", free_port) is None
