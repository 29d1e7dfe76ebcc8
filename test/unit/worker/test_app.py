from __future__ import annotations

import asyncio
import copy
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import bottle
import gevent
import pytest
import requests
from stub_model_server import PREDICTIONS, answer

from tfsd.errors import NotFound
from tfsd.plan import Model, ModelServer, Plan
from tfsd.worker import script
from tfsd.worker.targets import Targets
from tfsd.worker.upstream import requests_patch
from tfsd.worker.upstream.client import ModelServers
from tfsd.worker.upstream.current import current


def echo_context(data: Any, context: Any) -> dict[str, Any]:
    return context._asdict()


def test_context_of_a_plain_request(serve: Callable[..., Any], stub: Any) -> None:
    got = serve(echo_context).invoke(b"12345").json()
    assert list(got) == [
        "model_name",
        "model_version",
        "method",
        "rest_uri",
        "grpc_uri",
        "custom_attributes",
        "request_content_type",
        "accept_header",
        "content_length",
    ]
    assert got == {
        "model_name": "half_plus_three",
        "model_version": "5",
        "method": "predict",
        "rest_uri": f"http://localhost:{stub.port}/v1/models/half_plus_three:predict",
        "grpc_uri": "9000",
        "custom_attributes": "",
        "request_content_type": "application/json",
        "accept_header": "application/json",
        "content_length": 5,
    }


def test_context_of_a_request_that_says_all(serve: Callable[..., Any], stub: Any) -> None:
    attributes = "tfs-model-name=half_plus_two, tfs-model-version=3, tfs-method=classify, note=x"
    got = (
        serve(echo_context)
        .invoke(
            b"",
            X_Amzn_SageMaker_Custom_Attributes=attributes,
            Content_Type="application/x-image",
            Accept="text/csv",
        )
        .json()
    )
    assert got["rest_uri"] == f"http://localhost:{stub.port}/v1/models/half_plus_two/versions/3:classify"
    assert got["model_version"] == "3"
    assert got["custom_attributes"] == attributes
    assert got["request_content_type"] == "application/x-image"
    assert got["accept_header"] == "text/csv"


def test_default_accept_stands_for_anything(serve: Callable[..., Any]) -> None:
    client = serve(echo_context, default_accept="application/jsonlines")
    assert client.invoke(Accept="*/*").json()["accept_header"] == "application/jsonlines"


def test_time_left_is_the_requests(serve: Callable[..., Any]) -> None:
    client = serve(lambda data, context: [context.timeout, context.grpc_port], limit=20.0)
    left, port = client.invoke().json()
    assert 0 < left <= 20
    assert port == "9000"


def test_a_changed_context_is_of_the_same_request(serve: Callable[..., Any]) -> None:
    def handler(data: Any, context: Any) -> list[Any]:
        changed = context._replace(accept_header="text/csv")
        again = copy.copy(changed)
        return [changed.accept_header, changed.timeout, again.timeout, changed.channel is context.channel]

    accept, left, left_again, same = serve(handler).invoke().json()
    assert accept == "text/csv"
    assert 0 < left_again <= left <= 20
    assert same


@pytest.mark.parametrize(
    ("attributes", "status", "said"),
    [
        ("tfs-model-name=nobody", 404, ["'nobody'", "'half_plus_three'", "'half_plus_two'"]),
        ("tfs-model-name=elsewhere", 400, ["'elsewhere'", "Send one X-Amzn-SageMaker-Custom-Attributes"]),
        ("tfs-model-name=../../v1/models/half_plus_two", 404, ["half_plus_two"]),
        ("tfs-model-version=9", 404, ["9", "3, 5", "'half_plus_three'"]),
        ("tfs-model-version=3:predict", 400, ["tfs-model-version"]),
        ("tfs-method=metadata", 400, ["predict"]),
        ("tfs-modle-name=half_plus_two", 400, ["tfs-modle-name"]),
    ],
)
def test_a_request_for_what_is_not_there(
    serve: Callable[..., Any], stub: Any, attributes: str, status: int, said: list[Any]
) -> None:
    response = serve(echo_context).ask(attributes)
    assert response.status == status
    assert all(text in response.json()["error"] for text in said)
    assert not stub.requests


def test_the_only_model_is_the_generic_one(stub: Any) -> None:
    server = ModelServer("model-m", stub.port, 9000)
    models = {name: Model(name, "/", (1,), (server,), "mine") for name in ("m", "n")}
    for names, found in ((["m"], "m"), (["m", "n"], None)):
        plan = Plan({name: models[name] for name in names}, {}, "m")
        targets = Targets(plan, "mine", ModelServers(plan.models))
        if found:
            assert targets.find("tfs-model-name=generic_model").name == found
        else:
            with pytest.raises(NotFound, match="generic_model"):
                targets.find("tfs-model-name=generic_model")


def test_a_models_name_cannot_leave_its_place_in_the_uri(serve: Callable[..., Any], stub: Any) -> None:
    name = "a b/../c:predict?x"
    client = serve(lambda data, context: "{}", lambda response, context: response.content, names=(name,))
    client.invoke()
    assert stub.requests[0].path == "/v1/models/a%20b%2F..%2Fc%3Apredict%3Fx:predict"
    assert client.invoke().headers["X-Tfsd-Model"] == "a%20b%2F..%2Fc%3Apredict%3Fx"


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/invocations", 405), ("POST", "/other", 404)]
)
def test_other_requests_are_json_errors(
    serve: Callable[..., Any], method: str, path: str, status: int
) -> None:
    client = serve()
    response = client.request(method, path, b"")
    assert response.status == status
    assert response.headers["Content-Type"] == "application/json"
    assert path in response.json()["error"]
    assert client.invoke(b"[1.0]").status == 200  # on the same connection


def test_converter(serve: Callable[..., Any], stub: Any) -> None:
    response = serve().invoke(b"1.0,2.0\n3.0,4.0\n", Content_Type="text/csv")
    assert (response.status, response.body) == (200, PREDICTIONS)
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Tfsd-Model"] == "half_plus_three"
    assert stub.requests[0].json() == {"instances": [[1.0, 2.0], [3.0, 4.0]]}
    assert stub.requests[0].path == "/v1/models/half_plus_three:predict"


def test_converter_keeps_the_model_servers_error(serve: Callable[..., Any], stub: Any) -> None:
    stub.usual = answer(b'{ "error": "Malformed request" }', "400 Bad Request")
    response = serve().invoke(b"[1.0]", Accept="text/csv")
    assert (response.status, response.json()) == (400, {"error": "Malformed request"})


def test_converter_makes_json_of_an_error_page(serve: Callable[..., Any], stub: Any) -> None:
    stub.usual = answer(b"<HTML>404</HTML>", "404 Not Found")
    response = serve().invoke(b"[1.0]")
    assert (response.status, response.json()) == (404, {"error": "<HTML>404</HTML>"})


@pytest.fixture
def documented(serve: Callable[..., Any], request: Any) -> Callable[..., Any]:
    """The examples of the documentation, unchanged."""

    def start(name: str, **more: Any) -> Any:
        path = request.path.parents[2] / "resources" / "handlers" / f"{name}.py"
        client = serve(script=script.load(path, []), **more)
        request.addfinalizer(requests_patch.install(client.servers, 20.0))
        return client

    return start


@pytest.mark.parametrize("name", ["pair", "single"])
class TestDocumentedExamples:
    def test_json_and_csv(self, documented: Callable[..., Any], stub: Any, name: str) -> None:
        client = documented(name)
        response = client.invoke(b'{"instances": [1.0]}', Content_Type="application/json", Accept="text/x")
        assert (response.status, response.body) == (200, PREDICTIONS)
        assert response.headers["Content-Type"] == "text/x"
        assert client.invoke(b"1.0,2.0", Content_Type="text/csv").status == 200
        assert [request.json() for request in stub.requests] == [
            {"instances": [1.0]},
            {"instances": [1.0, 2.0]},
        ]
        assert stub.connections == 1

    def test_the_error_of_an_unknown_type(self, documented: Callable[..., Any], name: str) -> None:
        response = documented(name).invoke(b"x", Content_Type="text/weird")
        assert (response.status, response.json()) == (500, {"error": "unsupported content type text/weird"})

    def test_the_model_servers_error_keeps_its_shape(
        self, documented: Callable[..., Any], stub: Any, name: str
    ) -> None:
        stub.usual = answer(b'{ "error": "no such signature" }', "400 Bad Request")
        response = documented(name).invoke(b"{}", Content_Type="application/json")
        assert (response.status, response.json()) == (500, {"error": "no such signature"})

    def test_a_restarted_model_server_is_not_noticed(
        self, documented: Callable[..., Any], stub: Any, name: str
    ) -> None:
        client = documented(name)
        assert client.invoke(b"{}").status == 200
        stub.die()
        gevent.spawn_later(0.3, stub.start)
        assert client.invoke(b"{}").status == 200


def test_documented_image_example(documented: Callable[..., Any], stub: Any) -> None:
    client = documented("image")
    assert client.invoke(b"\x89PNG", Content_Type="application/x-image").body == PREDICTIONS
    assert stub.requests[0].json() == {"instances": [{"b64": "iVBORw=="}]}
    response = client.invoke(b"x", Content_Type="image/png")
    assert response.json() == {"error": 'Error: 415, Unsupported content type "image/png"'}


@pytest.mark.parametrize(
    ("made", "sent"),
    [("text", b"text"), (b"bytes", b"bytes"), ({"instances": [1]}, b'{"instances": [1]}'), ([1], b"[1]")],
)
def test_what_input_handler_may_return(serve: Callable[..., Any], stub: Any, made: Any, sent: bytes) -> None:
    client = serve(lambda data, context: made, lambda response, context: response.json())
    assert client.invoke().json() == {"predictions": [3.5, 4.0, 5.5]}
    assert stub.requests[0].body == sent


def test_input_handler_may_return_its_stream(serve: Callable[..., Any], stub: Any) -> None:
    body = b"x" * 1_000_000
    assert serve(lambda data, context: data, lambda response, _: response.text).invoke(body).status == 200
    assert stub.requests[0].body == body


def test_input_handler_must_return_something(serve: Callable[..., Any], stub: Any) -> None:
    response = serve(lambda data, context: None, lambda response, context: b"").invoke()
    assert response.status == 500
    assert "input_handler returned None" in response.json()["error"]
    assert not stub.requests


@pytest.mark.parametrize(
    "read",
    [
        lambda data: data.read(),
        lambda data: data.read(-1),
        lambda data: b"".join(iter(lambda: data.read(3), b"")),
        lambda data: b"".join(data),
        lambda data: data.readline() + data.read(),
        lambda data: b"".join(data.readlines()),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_ways_to_read_the_data(serve: Callable[..., Any], read: Callable[..., Any], chunked: bool) -> None:
    body = b"one\ntwo\nthree"
    client = serve(lambda data, context: read(data))
    response = client.invoke(iter([body[:5], body[5:]]) if chunked else body)
    assert response.body == body


def test_unread_data_does_not_disturb_the_next_request(serve: Callable[..., Any]) -> None:
    client = serve(lambda data, context: "unread")
    assert [client.invoke(b"x" * 300_000).body for _ in range(2)] == [b"unread", b"unread"]


def raising(error: Any) -> Callable[..., Any]:
    def handler(data: Any, context: Any) -> None:
        raise error

    return handler


class TeapotError(Exception):
    status_code = 418


class SpeechlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class StatuslessError(Exception):
    @property
    def status_code(self) -> int:
        raise RuntimeError("not asked yet")


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (ValueError("no good"), 500, "no good"),
        (ValueError('{"error": "no {good}", "code": 7}'), 500, "no {good}"),
        (ValueError("{not json"), 500, "{not json"),
        (KeyError("size"), 500, "KeyError: 'size'"),
        (ValueError(), 500, "ValueError()"),
        (TeapotError("short and stout"), 418, "short and stout"),
        (bottle.HTTPError(415, "only PNG"), 415, "only PNG"),
        (bottle.HTTPResponse(b'{"error": "slow down"}', 429), 429, "slow down"),
        (SystemExit(3), 500, "3"),
        (gevent.Timeout(1), 500, "1 second"),
        (asyncio.CancelledError(), 500, "CancelledError()"),
        (BaseExceptionGroup("two", [SystemExit(1), ValueError()]), 500, "two (2 sub-exceptions)"),
        (gevent.GreenletExit(), 500, "GreenletExit()"),
        (GeneratorExit(), 500, "GeneratorExit()"),
        (KeyboardInterrupt(), 500, "KeyboardInterrupt()"),
        (SpeechlessError(), 500, "SpeechlessError, whose text cannot be had"),
        (StatuslessError("no status"), 500, "no status"),
        (MemoryError(), 503, "There is not enough memory"),
        (bottle.HTTPResponse("a body", 204), 500, "status 204 with a body"),
        (bottle.HTTPError(304, "a body"), 500, "status 304 with a body"),
        (bottle.HTTPResponse("", 100), 500, "status 100 that is no final response"),
    ],
)
def test_exceptions(
    serve: Callable[..., Any], caplog: pytest.LogCaptureFixture, error: Any, status: int, text: str
) -> None:
    client = serve(raising(error))
    response = client.invoke()
    assert response.status == status
    assert response.headers["Content-Type"] == "application/json"
    assert text in response.json()["error"]
    events = [record for record in caplog.records if record.exc_info]
    assert len(events) == (status >= 500)
    assert client.invoke().status == status  # the worker lives, the connection is in order


def test_a_raised_response_whose_body_fails(
    serve: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    def pieces() -> Iterator[str]:
        raise ValueError("no first piece")
        yield ""

    def handler(data: Any, context: Any) -> None:
        raise bottle.HTTPResponse(pieces(), 200)

    client = serve(handler)
    response = client.invoke()
    assert (response.status, response.json()) == (500, {"error": "no first piece"})
    assert response.headers["X-Tfsd-Model"]
    assert [record.getMessage() for record in caplog.records if record.exc_info] == [
        "Model half_plus_three: user code failed: ValueError: no first piece"
    ]


def test_a_request_that_takes_too_long(serve: Callable[..., Any]) -> None:
    client = serve(lambda data, context: gevent.sleep(30), limit=0.2)
    response = client.invoke()
    assert response.status == 504
    assert "0.2 s" in response.json()["error"]
    assert "SAGEMAKER_GUNICORN_TIMEOUT_SECONDS" in response.json()["error"]


def test_a_model_server_that_takes_too_long(serve: Callable[..., Any], stub: Any) -> None:
    stub.behaviours = [lambda *_: gevent.sleep(30)]
    client = serve(limit=0.3)
    assert client.invoke(b"[1]").status == 504
    assert client.invoke(b"[1]").body == PREDICTIONS  # never the late answer to the first request


def test_a_model_server_that_stays_down(serve: Callable[..., Any], stub: Any) -> None:
    stub.die()
    response = serve(limit=1.0).invoke(b"[1]")
    assert (response.status, response.headers["Retry-After"]) == (503, "1")
    assert "model-0" in response.json()["error"]


def test_a_handlers_headers(serve: Callable[..., Any]) -> None:
    headers = {"X-Amzn-SageMaker-New-Session-Id": "abc; Expires=2030-01-01T00:00:00Z", "Content-Length": "1"}
    response = serve(lambda data, context: (b"body", "text/plain", headers)).invoke()
    assert response.body == b"body"
    assert response.headers["Content-Type"] == "text/plain"
    assert response.headers["X-Amzn-SageMaker-New-Session-Id"] == "abc; Expires=2030-01-01T00:00:00Z"


def test_no_blank_lines_in_a_batch_job_s_output(serve: Callable[..., Any], stub: Any) -> None:
    batch = {"SAGEMAKER_BATCH": "true", "SAGEMAKER_BATCH_STRATEGY": "MultiRecord"}
    for environ, end in (({}, b"\n"), (batch, b"")):
        client = serve(environ=environ)
        assert client.invoke(b"[1]", Accept="text/csv").body == b"3.5\n4.0\n5.5" + end
        assert client.invoke(b"[1]", Accept="application/x-ndjson").body == b"3.5\n4.0\n5.5" + end
        assert client.invoke(b"[1]").body == PREDICTIONS


def test_nothing_is_computed_for_a_type_that_is_not_produced(serve: Callable[..., Any], stub: Any) -> None:
    response = serve(environ={"SAGEMAKER_TFS_STRICT_ACCEPT": "true"}).invoke(b"[1]", Accept="image/png")
    assert (response.status, "image/png" in response.json()["error"]) == (406, True)
    assert not stub.requests


REFUSAL = b'{ "error": "no such signature" }'


@pytest.mark.parametrize(
    ("output_handler", "status"),
    [
        (lambda response, context: response.content, 404),
        (lambda response, context: (response.content, "application/json"), 404),
        (lambda response, context: (response.text, "application/json", {"X-A": "b"}), 404),
        (lambda response, context: bottle.HTTPResponse(response.content, 200), 200),
        (lambda response, context: response.json(), 200),
        (lambda response, context: b"mine", 200),
    ],
)
def test_an_error_that_is_passed_on_unchanged_stays_one(
    serve: Callable[..., Any], stub: Any, output_handler: Callable[..., Any], status: int
) -> None:
    stub.usual = answer(REFUSAL, "404 Not Found")
    client = serve(lambda data, context: "{}", output_handler)
    assert client.invoke().status == status


def test_an_error_that_a_handler_asked_for_itself_stays_one(serve: Callable[..., Any], stub: Any) -> None:
    client = serve(lambda data, context: requests.post(context.rest_uri, data.read()).content)
    uninstall = requests_patch.install(client.servers, 5.0)
    try:
        for status, expected in (("400 Bad Request", 400), ("200 OK", 200)):
            stub.usual = answer(REFUSAL, status)
            assert (client.invoke().status, client.invoke().body) == (expected, REFUSAL)
    finally:
        uninstall()


def test_what_was_answered_to_a_handler_is_not_kept_with_the_connection(serve: Callable[..., Any]) -> None:
    requests_of_greenlets: list[Any] = []

    def handler(data: Any, context: Any) -> bytes:
        requests_of_greenlets.append(current.get())
        content: bytes = requests.post(context.rest_uri, data.read()).content
        assert requests_of_greenlets[-1].answered.body == content
        return content

    client = serve(handler)
    uninstall = requests_patch.install(client.servers, 5.0)
    try:
        assert client.invoke().body == PREDICTIONS
    finally:
        uninstall()
    assert [request.answered for request in requests_of_greenlets] == [None]


@pytest.mark.parametrize("body", ["a body", iter(["a", "body"])])
def test_a_status_without_a_body_that_has_one(
    serve: Callable[..., Any], caplog: pytest.LogCaptureFixture, body: Any
) -> None:
    client = serve(lambda data, context: bottle.HTTPResponse(body, 204))
    response = client.invoke()
    assert (response.status, "status 204 with a body" in response.json()["error"]) == (500, True)
    assert [record for record in caplog.records if record.exc_info]
    assert client.invoke().status == 500 if isinstance(body, str) else True


@pytest.mark.parametrize("status", [201, 204])
def test_a_handlers_status(serve: Callable[..., Any], status: int) -> None:
    client = serve(lambda data, context: bottle.HTTPResponse("", status))
    assert [client.invoke().status, client.invoke().status] == [status, status]


def test_no_header_injection(serve: Callable[..., Any]) -> None:
    response = serve(lambda data, context: (b"", "text/plain\r\nX-Evil: 1", {})).invoke()
    assert response.status == 500
    assert "X-Evil" not in response.headers
    assert "Content-Type" in response.json()["error"]


def test_many_at_once(serve: Callable[..., Any], stub: Any) -> None:
    """A handler that waits does not hold up others."""
    arrived = []
    everybody = gevent.event.Event()

    def handler(data: Any, context: Any) -> str:
        arrived.append(1)
        if len(arrived) == 5:
            everybody.set()
        everybody.wait()
        return json.dumps(len(arrived))

    client = serve(handler)
    others = [type(client)(client.path) for _ in range(5)]
    jobs = [gevent.spawn(other.invoke) for other in others]
    gevent.joinall(jobs)
    assert {job.value.body for job in jobs} == {b"5"}
    for other in others:
        other.connection.close()


def test_draining(serve: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    release = gevent.event.Event()
    client = serve(lambda data, context: release.wait() and "done")
    request = gevent.spawn(client.invoke)
    with gevent.Timeout(30):
        while not client.server.in_flight:
            gevent.sleep(0.01)
    drain = gevent.spawn(client.server.drain, 20.0)
    with gevent.Timeout(30):
        while not client.server.draining:
            gevent.sleep(0.01)
    assert not drain.ready()
    release.set()
    assert request.get().body == b"done"
    assert request.get().headers["Connection"] == "close"
    assert drain.get() == 0
