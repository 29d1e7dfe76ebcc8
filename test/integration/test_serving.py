"""A stack without user code: routes, custom attributes, HTTP itself, and what the endpoint tells of its work."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from support.raw_http import RawConnection, exchange
from support.stack import RunningStack

ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
ONE = '{"instances": [1.0]}'  # goes straight to the model server
REGRESS = '{"signature_name": "regress_x_to_y", "examples": [{"x": 1.0}, {"x": 2.0}]}'
CLASSIFY = '{"signature_name": "classify_x_to_y", "examples": [{"x": 1.0}]}'


def error_of(answer: requests.Response, status: int) -> str:
    """The text of an answer that must be a JSON error with that status."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json"), answer.text
    document = answer.json()
    assert list(document) == ["error"]
    return document["error"]


# --- custom attributes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "predictions"),
    [
        ("", [3.5]),  # half_plus_three is the first by name
        ("tfs-model-name=half_plus_two", [3.5]),  # its latest version adds 3
        ("tfs-model-name=half_plus_two,tfs-model-version=123", [2.5]),
        ("tfs-model-version=124,tfs-model-name=half_plus_two", [3.5]),
        ("TFS-Model-Name = half_plus_two , tfs-model-version= 00123 ,tfs-method =predict", [2.5]),
        ("note=tfs-model-name=x,c000=7,tfs-model-name=half_plus_two,tfs-model-version=123", [2.5]),
        ("note=tfs-model-name=x", [3.5]),
    ],
)
@pytest.mark.parametrize(("body", "content_type"), [(ONE, "application/json"), ("1.0\n", "text/csv")])
def test_attributes_choose_model_and_version(
    plain_stack: RunningStack, attributes: str, predictions: list[float], body: str, content_type: str
) -> None:
    answer = plain_stack.invoke(body, content_type, attributes=attributes)
    assert answer.status_code == 200
    assert answer.json() == {"predictions": predictions}


def test_classify_and_regress(plain_stack: RunningStack) -> None:
    model = "tfs-model-name=half_plus_two,tfs-model-version=123"
    answer = plain_stack.invoke(REGRESS, attributes=f"{model},tfs-method=regress")
    assert answer.json() == {"results": [2.5, 3.0]}
    answer = plain_stack.invoke(CLASSIFY, attributes=f"tfs-method=classify,{model}")
    assert answer.json() == {"results": [[["cat", 2.5], ["dog", 2.0], ['müs "x"', 1.0]]]}


@pytest.mark.parametrize(
    ("attributes", "status", "told"),
    [
        ("tfs-model-name=nope", 404, ["'nope'", "half_plus_three", "half_plus_two", "matrix"]),
        ("tfs-model-name=half_plus_two,tfs-model-version=7", 404, ["7", "123, 124"]),
        ("tfs-model-version=latest", 400, ["latest", "whole number"]),
        ("tfs-model-version=-1", 400, ["whole number"]),
        ("tfs-method=metadata", 400, ["metadata", "predict, classify, regress"]),
        ("tfs-method=PREDICT", 400, ["predict, classify, regress"]),
        ("tfs-model-name=", 400, ["tfs-model-name=NAME"]),
        ("tfs-model-name", 400, ["tfs-model-name=NAME"]),
        ("tfs-modelname=matrix", 400, ["tfs-modelname", "tfs-model-name=NAME"]),
        ("tfs-model-name=matrix,tfs-model-name=multi", 400, ["matrix", "multi"]),
    ],
)
@pytest.mark.parametrize(("body", "content_type"), [(ONE, "application/json"), ("1.0\n", "text/csv")])
def test_attributes_that_mean_nothing_are_refused(
    plain_stack: RunningStack, attributes: str, status: int, told: list[str], body: str, content_type: str
) -> None:
    message = error_of(plain_stack.invoke(body, content_type, attributes=attributes), status)
    assert all(word in message for word in told), message


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "half_plus_two:predict",
        "half_plus_two/versions/123",
        "half%5Fplus_two",
        "..%2F..%2Fmonitoring",
        "matrix/metadata",
        "matrix#",
        "matrix?x",
        "__proto__",
        "constructor",
        "*",
    ],
)
@pytest.mark.parametrize(("body", "content_type"), [(ONE, "application/json"), ("1.0\n", "text/csv")])
def test_no_model_name_reaches_another_path_of_the_model_server(
    plain_stack: RunningStack, name: str, body: str, content_type: str
) -> None:
    message = error_of(plain_stack.invoke(body, content_type, attributes=f"tfs-model-name={name}"), 404)
    assert message.startswith(f"There is no model {name!r}")


def test_header_that_is_given_twice_counts_as_one_list(plain_stack: RunningStack) -> None:
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(ONE)}\r\n"
    both = f"{ATTRIBUTES}: tfs-model-name=half_plus_two\r\n{ATTRIBUTES}: tfs-model-version=123\r\n\r\n"
    status, _, body = exchange(plain_stack.port, f"{head}{both}{ONE}".encode())
    assert (status, json.loads(body)) == (200, {"predictions": [2.5]})


# --- errors -----------------------------------------------------------------------------------------------------


def test_errors_of_the_model_server_keep_status_and_message(plain_stack: RunningStack) -> None:
    direct = plain_stack.invoke('{"instances": ["a"]}')
    converted = plain_stack.invoke("a\n", "text/csv")
    told = (
        "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: \"a\" "
        "Type: String is not of expected type: float"
    )
    assert error_of(direct, 400) == error_of(converted, 400) == told
    assert error_of(plain_stack.invoke('{"signature_name": "x", "instances": [1.0]}'), 400) == (
        'Serving signature name: "x" not found in signature def'
    )
    assert "Line 1, column 19" in error_of(plain_stack.invoke('{"instances": [1.0'), 400)


def test_our_own_headers_stay_inside(plain_stack: RunningStack) -> None:
    for answer in (plain_stack.invoke(ONE), plain_stack.invoke("1.0", "text/csv"), plain_stack.invoke("{")):
        assert [name for name in answer.headers if name.lower().startswith("x-")] == ["X-Request-Id"]
        assert answer.headers["Server"] == "nginx"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/pingpong", 404),
        ("GET", "/ping/", 404),
        ("POST", "/invocationsXYZ", 404),
        ("POST", "/invocations/x", 404),
        ("GET", "/", 404),
        ("GET", "/error", 404),
        ("GET", "/v1/models/half_plus_two", 404),
        ("POST", "/tfs/v1/models/half_plus_two:predict", 404),
        ("GET", "/nginx.conf", 404),
        ("GET", "/invocations", 405),
        ("PUT", "/invocations", 405),
        ("DELETE", "/invocations", 405),
        ("POST", "/ping", 405),
        ("POST", "/metrics", 405),
    ],
)
def test_other_paths_and_methods_are_json_errors(
    plain_stack: RunningStack, method: str, path: str, status: int
) -> None:
    error_of(requests.request(method, plain_stack.url(path), data=ONE, timeout=10), status)


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("GARBAGE\r\n\r\n", 400),
        ("\x16\x03\x01\x00\xa5\x01", 400),  # TLS
        ("POST /invocations HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 400),  # no Host
        ("POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n", 400),
        ("POST /invocations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        ("POST /invocations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ("GET /ping HTTP/9.9\r\nHost: x\r\n\r\n", 505),
        ("TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (f"GET /{'y' * 70_000} HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    ],
)
def test_what_nginx_refuses_is_a_json_error(
    plain_stack: RunningStack, request_text: str, status: int
) -> None:
    answered, headers, body = exchange(plain_stack.port, request_text.encode("latin-1"))
    assert (answered, headers["Content-Type"]) == (status, "application/json")
    assert re.fullmatch(r"(?!nginx answered).+", json.loads(body)["error"])


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/models", "/v1/models/half_plus_two:predict"),
        *("/v2", "/v2/health/live", "/v2/models/half_plus_two"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_apis_that_name_models_in_paths_are_off_unless_asked_for(
    plain_stack: RunningStack, method: str, path: str
) -> None:
    error_of(requests.request(method, plain_stack.url(path), data=ONE, timeout=30), 404)


def test_headers_that_are_too_large_are_called_so(plain_stack: RunningStack) -> None:
    message = error_of(requests.get(plain_stack.url("/ping"), headers={"X": "y" * 70_000}, timeout=10), 431)
    assert "headers are too large" in message


def test_how_long_a_line_of_a_head_may_be(plain_stack: RunningStack) -> None:
    """nginx's own limit, 8 KiB with the line's end."""
    for more, allowed in ((0, True), (1, False)):
        value = "y" * (8192 - len("X: \r\n") + more)
        answer = requests.get(plain_stack.url("/ping"), headers={"X": value}, timeout=10)
        assert answer.status_code == (200 if allowed else 431)
        path = "/no?" + "y" * (8192 - len("GET /no? HTTP/1.1\r\n") + more)
        assert requests.get(plain_stack.url(path), timeout=10).status_code == (404 if allowed else 414)


def test_control_gets_small_bodies_only(plain_stack: RunningStack) -> None:
    url = plain_stack.url("/execution-parameters")
    assert requests.post(url, data=b"x" * (64 << 10), timeout=10).status_code == 405
    assert requests.post(url, data=b"x" * ((64 << 10) + 1), timeout=10).status_code == 413


# --- HTTP -------------------------------------------------------------------------------------------------------


def test_a_connection_serves_many_requests(plain_stack: RunningStack) -> None:
    with RawConnection(plain_stack.port) as connection:
        for body, content_type in [(ONE, "application/json"), ("1.0", "text/csv"), ("{", "text/csv")] * 2:
            connection.send(
                f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            status, headers, _ = connection.answer()
            assert (status, headers["Connection"]) == (400 if body == "{" else 200, "keep-alive")


@pytest.mark.parametrize(("body", "content_type"), [(ONE, "application/json"), ("1.0\n", "text/csv")])
def test_chunked_body_without_a_length(plain_stack: RunningStack, body: str, content_type: str) -> None:
    pieces = (piece.encode() for piece in body)
    answer = requests.post(
        plain_stack.url("/invocations"), data=pieces, headers={"Content-Type": content_type}, timeout=10
    )
    assert "Content-Length" not in answer.request.headers
    assert answer.json() == {"predictions": [3.5]}


@pytest.mark.parametrize(("body", "content_type"), [(ONE, "application/json"), ("1.0\n", "text/csv")])
def test_expect_100_continue(plain_stack: RunningStack, body: str, content_type: str) -> None:
    with RawConnection(plain_stack.port) as connection:
        connection.send(
            f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert connection.receive(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.send(body.encode())
        status, _, answer = connection.answer()
    assert (status, json.loads(answer)) == (200, {"predictions": [3.5]})


def test_http_1_0_and_a_query(plain_stack: RunningStack) -> None:
    request = f"POST /invocations?x=1 HTTP/1.0\r\nContent-Length: {len(ONE)}\r\n\r\n{ONE}"
    status, headers, body = exchange(plain_stack.port, request.encode())
    assert (status, json.loads(body)) == (200, {"predictions": [3.5]})
    assert headers["Connection"] == "close"
    answer = requests.post(plain_stack.url("/invocations?x=1"), "1.0", headers={"Content-Type": "text/csv"})
    assert answer.json() == {"predictions": [3.5]}


def test_twenty_megabytes_of_json(plain_stack: RunningStack) -> None:
    instances = [index % 1000 / 8 for index in range(3_000_000)]
    body = json.dumps({"instances": instances})
    assert len(body) > 20_000_000
    answer = plain_stack.invoke(body)
    assert answer.status_code == 200
    assert answer.json()["predictions"] == [x / 2 + 3 for x in instances]


# --- what the endpoint tells of itself --------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/ping", "/livez", "/readyz", "/startupz"])
def test_a_healthy_endpoint_answers_probes_by_an_empty_200(plain_stack: RunningStack, path: str) -> None:
    answer = requests.get(plain_stack.url(path), timeout=5)
    assert (answer.status_code, answer.content) == (200, b"")


def test_execution_parameters(plain_stack: RunningStack) -> None:
    answer = requests.get(plain_stack.url("/execution-parameters"), timeout=10)
    document = answer.json()
    assert answer.headers["Content-Type"] == "application/json"
    assert document["BatchStrategy"] == "MultiRecord"
    assert document["MaxPayloadInMB"] == 6
    assert document["MaxConcurrentTransforms"] > 0


def requests_total(stack: RunningStack) -> dict[tuple[str, str, str], float]:
    """The counter of /metrics by (route, model, status)."""
    text = requests.get(stack.url("/metrics"), timeout=10).text
    line = re.compile(r'tfsd_requests_total\{model="(.*)",route="(.*)",status="(.*)"\} (\S+)')
    return {
        (found[2], found[1], found[3]): float(found[4])
        for found in map(line.match, text.splitlines())
        if found
    }


def test_metrics_count_requests_by_route_model_and_status(csv_stack: RunningStack) -> None:
    three = "tfs-model-name=half_plus_three"  # that no other test asks this stack for
    for _ in range(3):
        csv_stack.invoke(ONE, attributes=three, Accept="application/json")
    csv_stack.invoke("1\n2\n", "text/csv", attributes=three)
    csv_stack.invoke("1,2\n3\n", "text/csv", attributes=three)
    csv_stack.invoke(ONE, attributes="tfs-model-name=nope")
    wanted = {
        ("direct", "half_plus_three", "200"): 3.0,
        ("worker", "half_plus_three", "200"): 1.0,
        ("worker", "half_plus_three", "400"): 1.0,
        ("worker", "-", "404"): 1.0,
    }
    csv_stack.wait_for(
        lambda: wanted.items() <= requests_total(csv_stack).items(), 10, f"{wanted} on /metrics"
    )
    assert not [key for key in requests_total(csv_stack) if key[0] not in ("direct", "worker", "control")]
    text = requests.get(csv_stack.url("/metrics"), timeout=10).text
    assert 'tfsd_model_available{model="half_plus_three"} 1.0' in text
    assert 'tfsd_request_duration_seconds_count{model="half_plus_three",route="worker"} 2.0' in text


def test_access_log_has_requests_but_no_pings_and_no_secrets(plain_stack: RunningStack) -> None:
    plain_stack.session.post(
        plain_stack.url("/invocations"),
        data='{"instances": [81250.61803]}',
        headers={
            "Authorization": "Bearer hidden-token",
            "Cookie": "session=hidden-cookie",
            ATTRIBUTES: "c=hidden-note,tfs-model-name=multi",
            "X-Amzn-SageMaker-Inference-Id": "shown-id",
        },
    )
    plain_stack.ping()
    wanted = '"POST /invocations HTTP/1.1" 400'
    plain_stack.wait_for(
        lambda: re.search(rf"{wanted} .*route=direct model=multi .*id=shown-id ", plain_stack.log_text()),
        5,
        "logged",
    )
    log = plain_stack.log_text()
    assert not re.search(r'"(GET|POST|HEAD) /ping HTTP/1.1" [235]', log)
    assert "hidden" not in log
    assert "81250.61803" not in log


# --- settings ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def csv_stack(
    models: Path, start_stack: Callable[..., RunningStack], tmp_path_factory: pytest.TempPathFactory
) -> RunningStack:
    """A stack whose default model is not the first by name, and that answers with CSV."""
    directory = tmp_path_factory.mktemp("csv")
    for name in ("half_plus_two", "half_plus_three"):
        (directory / name).symlink_to(models / name)
    return start_stack(
        directory,
        SAGEMAKER_TFS_DEFAULT_MODEL_NAME="half_plus_two",
        SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT="text/csv",
    )


def test_default_model_and_default_accept(csv_stack: RunningStack) -> None:
    for answer in (csv_stack.invoke("2.0\n4.0", "text/csv"), csv_stack.invoke('{"instances": [2.0, 4.0]}')):
        assert (answer.text, answer.headers["Content-Type"]) == ("4.0\n5.0\n", "text/csv")
    answer = csv_stack.invoke('{"instances": [2.0]}', Accept="application/json")
    assert answer.json() == {"predictions": [4.0]}
    body = '{"instances": [2.0]}'
    request = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    assert exchange(csv_stack.port, request.encode())[2] == b"4.0\n"  # no Accept at all


def test_every_request_has_an_id_of_its_own(plain_stack: RunningStack) -> None:
    bodies = ((ONE, "application/json"), ("{", "application/json"), ("1.0", "text/csv"), ("a", "text/csv"))
    ids = []
    for _ in range(5):
        ids += [plain_stack.invoke(body, kind).headers["X-Request-Id"] for body, kind in bodies]
        new_connection = requests.post(plain_stack.url("/invocations"), data=ONE, timeout=10)
        ids.append(new_connection.headers["X-Request-Id"])
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[0-9a-f]{8}(-\d+){3}", id) for id in ids)
