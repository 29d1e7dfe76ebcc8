"""TensorFlow Serving's REST API on the endpoint's port: with each nginx, with and without user code, many models."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import requests

from integration.conftest import StartStack, linked
from integration.test_serving import error_of
from support.code import add_model
from support.multi_model import MultiModelStack
from support.nginx_choice import environ_for
from support.stack import RunningStack

ON = {"SAGEMAKER_TFS_REST_API": "true"}
HANDLER = """
import json

def handler(data, context):
    return json.dumps({"code": True, "body": data.read().decode(), "version": context.model_version,
                       "method": context.method, "uri": context.rest_uri.partition("/v1/")[2]})
"""
OWN = "it's own, 100%"
NATIVE = {"instances": [1.0, 2.0]}
BEYOND = {
    "101 deep": (b"[" * 101 + b"]" * 101, "nested deeper than 100"),
    "1024 deep": (b"[" * 1024 + b"]" * 1024, "nested deeper than 100"),
    "100000 deep": (b"[" * 100_000 + b"]" * 100_000, "nested deeper than 100"),
    "2001 digits": (b"1" * 2001, "more than 2000 digits"),
    "5000 digits": (b"1" * 5000, "more than 2000 digits"),
}


@pytest.fixture(scope="module", params=["system", "wheel", "none"])
def stack(
    request: pytest.FixtureRequest,
    models: Path,
    start_stack: StartStack,
    tmp_path_factory: pytest.TempPathFactory,
) -> RunningStack:
    """Models without code, of which half_plus_three is the default one, and one with code; with each nginx."""
    model_dir = linked(tmp_path_factory.mktemp("rest"), models, "half_plus_two", "half_plus_three", "string")
    add_model(model_dir, OWN, models / "half_plus_two", HANDLER)
    environ = environ_for(request.param, tmp_path_factory.mktemp("nginx"))
    return start_stack(model_dir, **ON, **environ, SAGEMAKER_TFS_DEFAULT_MODEL_NAME="half_plus_three")


def ask(stack: RunningStack, path: str, body: object = None, **options: object) -> requests.Response:
    """POST a body if there is one, else GET."""
    verb = "GET" if body is None else "POST"
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body)
    return stack.session.request(verb, stack.url(path), data=data, timeout=60, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "predictions"),
    [
        ("/v1/models/half_plus_two:predict", [3.5, 4.0]),
        ("/v1/models/half_plus_two/versions/123:predict", [2.5, 3.0]),
        ("/v1/models/half_plus_two/versions/0000124:predict", [3.5, 4.0]),
        ("/v1/models/half_plus_three:predict?x=1", [3.5, 4.0]),
        ("/v1/models/h%61lf_plus_three:predict", [3.5, 4.0]),
    ],
)
def test_predictions(stack: RunningStack, path: str, predictions: list[float]) -> None:
    answer = ask(stack, path, NATIVE)
    assert (answer.status_code, answer.json()) == (200, {"predictions": predictions})
    assert answer.headers["Content-Type"] == "application/json"


def test_what_only_tensorflow_serving_takes_is_not_converted(stack: RunningStack) -> None:
    """Columns, another signature, and what `/invocations` would take for an instance."""
    path = "/v1/models/half_plus_two:predict"
    assert ask(stack, path, {"inputs": [1.0]}).json() == {"outputs": [3.5]}
    assert "error" in ask(stack, path, [1.0]).json()
    assert ask(stack, path, b"1.0,2.0", headers={"Content-Type": "text/csv"}).status_code == 400


def test_classify_and_regress(stack: RunningStack) -> None:
    examples = {"signature_name": "regress_x_to_y", "examples": [{"x": 1.0}]}
    path = "/v1/models/half_plus_two/versions/123"
    assert ask(stack, f"{path}:regress", examples).json() == {"results": [2.5]}
    examples["signature_name"] = "classify_x_to_y"
    assert ask(stack, f"{path}:classify", examples).json()["results"][0][0] == ["cat", 2.5]


def test_an_error_that_quotes_what_is_no_text_is_json(stack: RunningStack) -> None:
    body = b'{"instan\xec\xe7s": [{"b64": "aGVsbG8="}, "text"]}'
    answer = requests.post(stack.url("/v1/models/half_plus_two:classify"), data=body, timeout=60)
    assert answer.status_code == 400
    assert "'examples'" in json.loads(answer.content)["error"]


@pytest.mark.parametrize(("value", "told"), BEYOND.values(), ids=BEYOND)
def test_json_beyond_what_is_converted(stack: RunningStack, value: bytes, told: str) -> None:
    """Here the model server judges it, a handler gets what was sent."""
    body = b'{"instances": [%b]}' % value
    for path in ("/v1/models/half_plus_two:predict", "/v1/models/half_plus_two/versions/123:predict"):
        assert error_of(ask(stack, path, body), 400)
    assert told in error_of(ask(stack, "/invocations", body), 400)
    assert ask(stack, "/v1/models/it's%20own,%20100%25:predict", body).json()["body"] == body.decode()


def test_status_metadata_and_list(stack: RunningStack) -> None:
    status = ask(stack, "/v1/models/half_plus_two").json()["model_version_status"]
    assert [(version["version"], version["state"]) for version in status] == [
        ("124", "AVAILABLE"),
        ("123", "AVAILABLE"),
    ]
    assert len(ask(stack, "/v1/models/half_plus_two/versions/123").json()["model_version_status"]) == 1
    metadata = ask(stack, "/v1/models/half_plus_two/versions/123/metadata").json()
    assert metadata["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "123"}
    assert "serving_default" in metadata["metadata"]["signature_def"]["signature_def"]
    assert ask(stack, "/v1/models").json() == {
        "models": sorted(["half_plus_two", "half_plus_three", "string", OWN])
    }


def test_user_code_runs(stack: RunningStack) -> None:
    for name in ("it%27s%20own%2C%20100%25", "it's%20own,%20100%25"):
        answer = ask(stack, f"/v1/models/{name}/versions/123:classify", b"not JSON").json()
        assert answer == {
            "code": True,
            "body": "not JSON",
            "version": "123",
            "method": "classify",
            "uri": "models/it%27s%20own%2C%20100%25/versions/123:classify",
        }
        assert ask(stack, f"/v1/models/{name}").json()["model_version_status"]
        assert "labels" in error_of(ask(stack, f"/v1/models/{name}/labels/x:predict", b"1"), 404)


@pytest.mark.parametrize(
    ("verb", "path", "status", "told"),
    [
        ("POST", "/v1/models/nope:predict", 404, "'half_plus_two'"),
        ("GET", "/v1/models/nope", 404, "'nope'"),
        ("POST", "/v1/models/half_plus_two/versions/7:predict", 404, "123, 124"),
        ("GET", "/v1/models/half_plus_two/versions/7/metadata", 404, "123, 124"),
        ("GET", f"/v1/models/half_plus_two/versions/{'9' * 5000}", 404, "19 digits"),
        ("GET", "/v1/models/half_plus_two:predict", 405, "use POST"),
        ("POST", "/v1/models/half_plus_two", 405, "use GET"),
        ("DELETE", "/v1/models/half_plus_two", 405, "use GET"),
        ("POST", "/v1/models/half_plus_two:reload", 404, "no /v1/models/half_plus_two:reload"),
        ("POST", "/v1/models/half_plus_two:PREDICT", 404, "here"),
        ("GET", "/v1/models/half_plus_two/METADATA", 404, "here"),
        (
            "GET",
            "/v1/models/half_plus_two/../../../monitoring/prometheus/metrics",
            404,
            "nothing at this path",
        ),
        ("GET", "/v1/models/%2e%2e/%2e%2e/monitoring/prometheus/metrics", 404, "nothing at this path"),
        ("POST", "/v1/models/half_plus_two/versions/123/../124:predict", 404, "here"),
        ("POST", "/v1/config/reload", 404, "nothing at this path"),
        ("POST", "/v1", 404, "nothing at this path"),
        ("POST", "/v1/modelsx", 404, "nothing at this path"),
        ("GET", "/monitoring/prometheus/metrics", 404, "nothing at this path"),
    ],
)
def test_nothing_else_is_there(stack: RunningStack, verb: str, path: str, status: int, told: str) -> None:
    prepared = requests.Request(verb, stack.url("/"), data=b"{}" if verb == "POST" else None).prepare()
    prepared.url = stack.url(path)  # requests would resolve the dots
    answer = stack.session.send(prepared, timeout=30)
    assert told in error_of(answer, status)
    assert (answer.headers.get("Allow") is not None) == (status == 405)


def test_a_label_is_the_model_server_s_to_know(stack: RunningStack) -> None:
    for path, body in (("/metadata", None), (":predict", NATIVE)):
        answer = ask(stack, f"/v1/models/half_plus_two/labels/stable{path}", body)
        assert answer.status_code in (400, 404)
        assert "stable" in answer.json()["error"]


def test_bodies_may_be_compressed(stack: RunningStack) -> None:
    path, headers = "/v1/models/half_plus_two:predict", {"Content-Encoding": "gzip"}
    body = gzip.compress(json.dumps(NATIVE).encode())
    assert ask(stack, path, body, headers=headers).json() == {"predictions": [3.5, 4.0]}
    assert "gzip" in error_of(ask(stack, path, b"{}", headers=headers), 400)
    error_of(ask(stack, path, b"{}", headers={"Content-Encoding": "br"}), 415)


def test_requests_are_found_in_log_and_metrics(stack: RunningStack) -> None:
    headers = {"X-Amzn-SageMaker-Inference-Id": "rest-1"}
    answer = ask(stack, "/v1/models/half_plus_two:predict", NATIVE, headers=headers)
    assert answer.headers["X-Request-Id"] == "rest-1"
    assert not {name for name in answer.headers if name.lower().startswith("x-tfsd")}
    ask(stack, "/v1/models/string", headers={"X-Amzn-SageMaker-Inference-Id": "rest-2"})
    # without njs an nginx before 1.23 sends nothing straight to a model server
    route = "direct" if "$rest_target" in (stack.run_dir / "decision.conf").read_text() else "worker"
    stack.wait_for(
        lambda: (
            f"route={route} model=half_plus_two" in line_of(stack, "rest-1")
            and "route=worker model=string" in line_of(stack, "rest-2")
        ),
        30,
        "in the log",
    )
    sample = f'tfsd_requests_total{{model="half_plus_two",route="{route}",status="200"}}'
    stack.wait_for(
        lambda: sample in requests.get(stack.url("/metrics"), timeout=10).text, 30, "in the metrics"
    )


def line_of(stack: RunningStack, request_id: str) -> str:
    return next((line for line in stack.log_text().splitlines() if f"id={request_id} " in line), "")


def test_a_model_server_that_dies_loses_no_request(stack: RunningStack) -> None:
    stack.kill("model-half_plus_two")
    assert ask(stack, "/v1/models/half_plus_two:predict", NATIVE).json() == {"predictions": [3.5, 4.0]}


def test_invocations_are_as_ever(stack: RunningStack) -> None:
    assert stack.invoke('{"instances": [1.0]}').json() == {"predictions": [3.5]}
    assert stack.invoke("1.0\n2.0\n", "text/csv").json() == {"predictions": [3.5, 4.0]}
    assert stack.invoke("{}", attributes="tfs-model-name=half_plus_two").status_code == 400


def closes(stack: RunningStack, path: str) -> bool:
    return ask(stack, path, NATIVE).headers["Connection"] == "close"


def test_an_endpoint_that_drains_closes_connections(stack: RunningStack) -> None:
    mark = stack.run_dir / "draining"
    mark.touch()
    try:
        for path in ("/v1/models/half_plus_two:predict", "/v1/models/it%27s%20own%2C%20100%25:predict"):
            stack.wait_for(partial(closes, stack, path), 30, "closing")
            assert ask(stack, path, NATIVE).status_code == 200
    finally:
        mark.unlink()


class TestManyModels:
    @pytest.fixture(scope="class")
    @staticmethod
    def many(
        models: Path, quick_model_server: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[MultiModelStack]:
        environ = {"SAGEMAKER_TFS_BINARY": str(quick_model_server), **ON}
        with MultiModelStack(tmp_path_factory.mktemp("stack"), environ) as running:
            for name, code in (("plain", None), ("a:predict", None), ("own", HANDLER), ("own + ü", HANDLER)):
                url = running.lay(f"m{len(running.names())}", models / "half_plus_two", code)
                running.loaded(name, url)
            yield running

    def test_they_are_predicted_with(self, many: MultiModelStack) -> None:
        for name in ("plain", "a%3Apredict"):
            answer = ask(many, f"/v1/models/{name}/versions/123:predict", NATIVE)
            assert answer.json() == {"predictions": [2.5, 3.0]}
            assert len(ask(many, f"/v1/models/{name}").json()["model_version_status"]) == 2
        assert ask(many, "/v1/models").json() == {"models": ["a:predict", "own", "own + ü", "plain"]}

    def test_user_code_runs(self, many: MultiModelStack) -> None:
        for name in ("own", "own%20%2B%20%C3%BC"):
            answer = ask(many, f"/v1/models/{name}:predict", b"x").json()
            assert (answer["code"], answer["uri"]) == (True, f"models/{name}:predict")
            assert "signature_def" in ask(many, f"/v1/models/{name}/metadata").json()["metadata"]

    def test_what_is_not_loaded_is_not_there(self, many: MultiModelStack) -> None:
        assert "not loaded" in error_of(ask(many, "/v1/models/other:predict", NATIVE), 404)
