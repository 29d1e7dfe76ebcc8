"""Routing of the REST API and the rendering of its outcomes, over a core that holds no model."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from tfsd.model_server.errors import Code, ServingError
from tfsd.model_server.metrics import Metrics
from tfsd.model_server.rest.api import MAX_INFLATED, RestApi
from tfsd.model_server.rest.http_message import Request, Response
from tfsd.model_server.spec import ModelSpec

METRICS_PATH = "/metrics"


class NoModels:
    """A core that remembers what it was asked for; `error` is what it raises."""

    def __init__(self) -> None:
        self.asked: list[ModelSpec] = []
        self.error: Exception = ServingError(Code.RESOURCE_EXHAUSTED, "nothing here")

    def lease(self, spec: ModelSpec) -> Any:
        self.asked.append(spec)
        raise self.error

    model_status = lease


@pytest.fixture
def core() -> NoModels:
    return NoModels()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def api(core: NoModels, metrics: Metrics) -> RestApi:
    return RestApi(core, timeout_ms=100, cors=True, prometheus_path=METRICS_PATH, metrics=metrics)  # type: ignore[arg-type]


def request(method: str, uri: str, body: bytes = b"", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method, uri.partition("?")[0], uri, 1, named, True, body)


@pytest.mark.parametrize(
    ("method", "uri", "spec"),
    [
        ("POST", "/v1/models/m:predict", ModelSpec("m")),
        ("POST", "/V1/Models/m/Versions/07:predict", ModelSpec("m", version=7)),
        ("POST", "/v1/models/a%2Fb%3A%20c/labels/%6C:predict", ModelSpec("a/b: c", label="l")),
        ("GET", "/v1/models/m?x=1", ModelSpec("m?x=1")),
        ("GET", "/v1/models/metadata", ModelSpec("metadata")),
        ("GET", "/v1/models/m/labels/l/METADATA", ModelSpec("m", label="l")),
        ("GET", "/v1/models/m/versions/1/metadata", ModelSpec("m", version=1)),
    ],
)
def test_a_path_names_a_model(api: RestApi, core: NoModels, method: str, uri: str, spec: ModelSpec) -> None:
    answer = api.handle(request(method, uri, b'{"instances":[1]}'))

    assert core.asked[-1] == spec
    assert answer.status == 429
    assert answer.body == b'{\n    "error": "nothing here"\n}'


@pytest.mark.parametrize(
    ("method", "uri"),
    [
        ("GET", "/v1/models/m:predict"),
        ("POST", "/v1/models/m"),
        ("POST", "/v1/models/m:PREDICT"),
        ("POST", "/v1/models/m:predict?x=1"),
        ("POST", "/v1/models/m/versions/-1:predict"),
        ("PUT", "/v1/models/m:predict"),
        ("HEAD", "/v1/models/m"),
        ("GET", "/v1/models/m/"),
        ("GET", "/v1/"),
    ],
)
def test_what_matches_no_route_is_malformed(api: RestApi, method: str, uri: str) -> None:
    answer = api.handle(request(method, uri))

    assert answer.status == 400
    assert answer.body == f'{{\n    "error": "Malformed request: {method} {uri}"\n}}'.encode()


@pytest.mark.parametrize("uri", ["/", "/v1", "/v2/models/m", "/metrics/", "*"])
def test_what_is_no_api_path_is_a_page(api: RestApi, uri: str) -> None:
    answer = api.handle(request("GET", uri))

    assert (answer.status, answer.content_type, answer.headers) == (404, "text/html", ())


@pytest.mark.parametrize("version", [str(2**63), "1" + "0" * 400])
def test_a_version_that_overflows_has_no_text(api: RestApi, version: str) -> None:
    answer = api.handle(request("GET", f"/v1/models/m/versions/{version}"))

    assert (answer.status, answer.content_type, answer.body) == (400, "application/json", b"")


def test_a_model_must_be_named(api: RestApi) -> None:
    answer = api.handle(request("GET", "/v1/models"))

    assert answer.body == b'{\n    "error": "Missing model name in request."\n}'


@pytest.mark.parametrize(("origin", "status"), [("https://a.example", 200), ("null", 400), (None, 400)])
def test_preflight(api: RestApi, origin: str | None, status: int) -> None:
    headers = {"origin": origin} if origin else {}
    answer = api.handle(request("OPTIONS", "/v1/models/m:predict", b"", **headers))

    assert (answer.status, answer.content_type, answer.body) == (status, "text/html; charset=ISO-8859-1", b"")


def test_cors_headers_are_on_errors_too_and_only_with_the_flag(api: RestApi, core: NoModels) -> None:
    without = RestApi(core, 100, cors=False, prometheus_path=None, metrics=Metrics())  # type: ignore[arg-type]
    asked = request("POST", "/v1/models/m:predict")

    assert ("Access-Control-Allow-Origin", "*") in api.handle(asked).headers
    assert without.handle(asked).headers == ()


def error_of(api: RestApi, body: bytes, **headers: str) -> bytes:
    return api.handle(request("POST", "/v1/models/m:classify", body, **headers)).body


def test_gzip_bodies_are_inflated_if_they_are_whole(api: RestApi) -> None:
    whole = gzip.compress(b"[")
    empty = error_of(api, b"")

    assert b"Invalid value. at offset: 1" in error_of(api, whole, content_encoding="gzip")
    assert error_of(api, whole[:-3], content_encoding="gzip") == empty
    assert error_of(api, whole + whole, content_encoding="gzip") == empty
    assert error_of(api, b"[", content_encoding="gzip") == empty
    assert error_of(api, gzip.compress(bytes(101 << 20), 1), content_encoding="gzip") == empty


def test_a_body_inflates_to_as_much_as_the_real_server_takes_and_no_byte_more(api: RestApi) -> None:
    """A body that begins with a zero byte is refused there, without a look at the rest."""
    fits, over = (gzip.compress(bytes(size), 1) for size in (MAX_INFLATED, MAX_INFLATED + 1))

    assert b"The document is empty. at offset: 0" in error_of(api, fits, content_encoding="gzip")
    assert error_of(api, over, content_encoding="gzip") == error_of(api, b"")


def test_a_fault_is_answered_and_counted(api: RestApi, core: NoModels, metrics: Metrics) -> None:
    core.error = KeyError("x")

    answer = api.handle(request("POST", "/v1/models/m:predict", b'{"instances":[1]}'))

    assert (answer.status, answer.content_type) == (500, "application/json")
    assert 'request_count{model_name="m",status="INTERNAL"} 1' in metrics.render()


def test_a_request_for_which_memory_does_not_suffice_may_come_again(
    api: RestApi, core: NoModels, metrics: Metrics
) -> None:
    core.error = MemoryError()

    answer = api.handle(request("POST", "/v1/models/m:predict", b'{"instances":[1]}'))

    assert answer.status == 503
    assert b"not enough memory" in answer.body
    assert 'request_count{model_name="m",status="UNAVAILABLE"} 1' in metrics.render()


def test_metrics_take_no_query(api: RestApi) -> None:
    page: Response = api.handle(request("GET", METRICS_PATH))
    refused = api.handle(request("GET", f"{METRICS_PATH}?x=1"))

    assert (page.status, page.content_type) == (200, "text/plain")
    assert refused.body == b"Unexpected path: /metrics?x=1. Should be /metrics"
    assert refused.status == 400
