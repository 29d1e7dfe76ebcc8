"""What a handler may do: answer with status and headers of its own, stream, fail, take too long, never return."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from support.stack import RunningStack

LIMIT_SECONDS = 2
SCRIPT = '''
"""Does what the request's body says."""

import io
import json
import logging
import os
import time

import bottle


class Refused(Exception):
    status_code = 429


def handler(data, context):
    order = json.loads(data.read())
    return globals()["do_" + order.pop("do")](context, **order)

def do_body(context, value):
    return value

def do_typed(context, value, content_type):
    return value, content_type

def do_full(context, value, content_type, headers):
    return value, content_type, headers

def do_bytes(context):
    return bytes(range(256)), "application/octet-stream"

def do_file(context):
    return io.BytesIO(b"x" * 200000), "text/plain"

def do_response(context, status, value, headers):
    return bottle.HTTPResponse(value, status, **headers)

def do_http_error(context, status, value):
    raise bottle.HTTPError(status, value)

def do_refuse(context):
    raise Refused("come back later")

def do_fail(context):
    return {}["missing key"]

def do_four(context):
    return 1, 2, 3, 4

def do_log(context, text):
    print("printed " + text)
    logging.getLogger("mine").warning("logged " + text)
    return ""

def do_context(context):
    fields = {**context._asdict(), "grpc_port": context.grpc_port, "left": context.timeout}
    return json.dumps({"order": context._fields, **fields}), "application/json"

def do_stream(context, pieces, go):
    def stream():
        for number, piece in enumerate(pieces):
            while not os.path.exists(go + str(number)):
                time.sleep(0.01)
            yield piece
    return stream(), "text/event-stream"

def do_broken_stream(context):
    def stream():
        yield "first"
        raise RuntimeError("broken in the middle")
    return stream(), "text/plain"

def do_sleep(context, seconds):
    time.sleep(seconds)
    return "slept", "text/plain"

def do_spin(context):
    while True:
        pass
'''


@pytest.fixture(scope="module")
def stack(
    models: Path, start_stack: Callable[..., RunningStack], tmp_path_factory: pytest.TempPathFactory
) -> RunningStack:
    directory = tmp_path_factory.mktemp("results")
    shutil.copytree(models / "half_plus_two", directory / "half_plus_two")
    (directory / "code").mkdir()
    (directory / "code" / "main.py").write_text(SCRIPT)
    return start_stack(
        directory,
        SAGEMAKER_PROGRAM="main.py",
        SAGEMAKER_MODEL_SERVER_TIMEOUT=str(LIMIT_SECONDS),
        SAGEMAKER_MODEL_SERVER_WORKERS="2",
    )


def do(stack: RunningStack, what: str, **arguments: Any) -> requests.Response:
    return requests.post(stack.url("/invocations"), json={"do": what, **arguments}, timeout=30)


def in_log(stack: RunningStack, text: str, seconds: float = 10) -> None:
    stack.wait_for(lambda: text in stack.log_text(), seconds, f"{text!r} in the log")


# --- results ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text ü", "text ü"),
        (None, ""),
        ("", ""),
        ({"a": [1, 2.5, None]}, '{"a": [1, 2.5, null]}'),
        ([1, 2], "[1, 2]"),
        (7, "7"),
    ],
)
def test_body_alone_is_json(stack: RunningStack, value: object, text: str) -> None:
    answer = do(stack, "body", value=value)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.content.decode() == text


def test_body_and_content_type(stack: RunningStack) -> None:
    answer = do(stack, "typed", value="a,b\n", content_type="text/csv; charset=utf-8")
    assert (answer.text, answer.headers["Content-Type"]) == ("a,b\n", "text/csv; charset=utf-8")
    assert do(stack, "bytes").content == bytes(range(256))
    assert do(stack, "file").content == b"x" * 200_000


def test_headers_of_the_contract_reach_the_client(stack: RunningStack) -> None:
    headers = {
        "X-Amzn-SageMaker-Custom-Attributes": "trace=1,note=two",
        "X-Amzn-SageMaker-New-Session-Id": "s1; Expires=2030-01-01T00:00:00Z",
        "X-Amzn-SageMaker-Closed-Session-Id": "s0",
    }
    answer = do(stack, "full", value="x", content_type="text/plain", headers=headers)
    assert (answer.text, answer.headers["Content-Type"]) == ("x", "text/plain")
    assert headers.items() <= dict(answer.headers).items()


def test_status_and_headers_of_a_response(stack: RunningStack) -> None:
    answer = do(
        stack, "response", status=202, value="later", headers={"X-Mine": "1", "Content_Type": "text/plain"}
    )
    assert (answer.status_code, answer.text) == (202, "later")
    assert (answer.headers["X-Mine"], answer.headers["Content-Type"]) == ("1", "text/plain")
    answer = do(
        stack, "response", status=404, value='{"mine": 1}', headers={"Content_Type": "application/json"}
    )
    assert (answer.status_code, answer.json()) == (404, {"mine": 1})


@pytest.mark.parametrize("status", [400, 404, 413, 500, 502, 503, 504])
def test_error_of_the_handlers_choice_is_answered_as_it_is(stack: RunningStack, status: int) -> None:
    answer = do(stack, "http_error", status=status, value="mine")
    assert (answer.status_code, answer.json()) == (status, {"error": "mine"})


def test_exception_with_a_status(stack: RunningStack) -> None:
    answer = do(stack, "refuse")
    assert (answer.status_code, answer.json()) == (429, {"error": "come back later"})


def test_exception_is_a_500_with_the_traceback_in_the_log(stack: RunningStack) -> None:
    answer = do(stack, "fail")
    assert (answer.status_code, answer.headers["Content-Type"]) == (500, "application/json")
    assert "missing key" in answer.json()["error"]
    assert "Traceback" not in answer.text
    in_log(stack, 'return {}["missing key"]')
    in_log(stack, "Model half_plus_two: user code failed: KeyError: 'missing key'")


def test_result_that_cannot_be_sent_is_explained(stack: RunningStack) -> None:
    answer = do(stack, "four")
    assert (answer.status_code, "tuple of 4 items" in answer.json()["error"]) == (500, True)
    headers = {"X-Split": "a\r\nX-Injected: b"}
    answer = do(stack, "full", value="x", content_type="text/plain", headers=headers)
    assert (answer.status_code, "X-Injected" in answer.headers) == (500, False)


def test_what_a_handler_prints_and_logs_is_in_the_log(stack: RunningStack) -> None:
    do(stack, "log", text="some words")
    in_log(stack, "printed some words")
    in_log(stack, "logged some words")


def test_context(stack: RunningStack) -> None:
    attributes = "tfs-model-version=123,note=1"
    answer = stack.invoke('{"do": "context"}', "text/x-mine", attributes=attributes, Accept="text/csv")
    context = answer.json()
    server = stack.plan().models["half_plus_two"].servers[0]
    assert " ".join(context.pop("order")) == (
        "model_name model_version method rest_uri grpc_uri custom_attributes request_content_type accept_header "
        "content_length"
    )
    assert 0 < context.pop("left") <= LIMIT_SECONDS
    assert context == {
        "model_name": "half_plus_two",
        "model_version": "123",
        "method": "predict",
        "rest_uri": f"http://localhost:{server.rest_port}/v1/models/half_plus_two/versions/123:predict",
        "grpc_uri": str(server.grpc_port),
        "grpc_port": str(server.grpc_port),
        "custom_attributes": attributes,
        "request_content_type": "text/x-mine",
        "accept_header": "text/csv",
        "content_length": 17,
    }
    bare = requests.post(stack.url("/invocations"), data=iter([b'{"do": "context"}']), timeout=10).json()
    assert (bare["model_version"], bare["custom_attributes"]) == ("124", "")
    assert (bare["request_content_type"], bare["accept_header"]) == ("application/json",) * 2


def test_large_body(stack: RunningStack) -> None:
    text = "0123456789" * 2_000_000
    assert do(stack, "typed", value=text, content_type="text/plain").text == text


# --- streams ----------------------------------------------------------------------------------------------------


def test_streamed_pieces_arrive_one_by_one(stack: RunningStack, tmp_path: Path) -> None:
    pieces = ["data: one\n\n", "data: two\n\n", "data: three ü\n\n"]
    order = {"do": "stream", "pieces": pieces, "go": str(tmp_path / "go")}
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=30)
    (tmp_path / "go0").touch()
    connection.request("POST", "/invocations", json.dumps(order))
    response = connection.getresponse()
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert "X-Accel-Buffering" not in response.headers
    for number, piece in enumerate(pieces, 1):
        assert response.read1(1000).decode() == piece  # the handler still waits for the next file
        (tmp_path / f"go{number}").touch()
    assert response.read() == b""
    connection.close()


def test_stream_that_fails_is_cut_off(stack: RunningStack) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        do(stack, "broken_stream")
    in_log(stack, "broken in the middle")
    assert do(stack, "body", value=1).json() == 1


# --- time -------------------------------------------------------------------------------------------------------


def test_slow_handler_is_a_504_while_others_are_served(stack: RunningStack) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        begun = time.monotonic()
        slow = [threads.submit(do, stack, "sleep", seconds=60) for _ in range(8)]
        for number in range(50):
            assert do(stack, "body", value=number).json() == number
        assert not any(future.done() for future in slow) or time.monotonic() - begun > LIMIT_SECONDS
        answers = [future.result() for future in slow]
    assert time.monotonic() - begun < 20  # far from the 60 s that the handler wants
    for answer in answers:
        assert (answer.status_code, answer.headers["Content-Type"]) == (504, "application/json")
        assert "2 s" in answer.json()["error"]
        assert "SAGEMAKER_MODEL_SERVER_TIMEOUT" in answer.json()["error"]


def test_stuck_worker_is_restarted(stack: RunningStack) -> None:
    workers = [worker.program for worker in stack.plan().pools["default"].workers]
    before = {program: stack.pid(program) for program in workers}
    answer = do(stack, "spin")
    assert (answer.status_code, answer.headers["Content-Type"]) == (504, "application/json")
    assert "SAGEMAKER_MODEL_SERVER_TIMEOUT" in answer.json()["error"]
    assert stack.ping().status_code == 200
    stack.wait_for(lambda: any(stack.pid(p) not in (0, before[p]) for p in workers), 30, "restarted")
    restarted = [program for program in workers if stack.pid(program) != before[program]]
    assert len(restarted) == 1
    assert any(
        restarted[0] in line and " control " in line and "restart" in line
        for line in stack.log_text().splitlines()
    )
    stack.wait_for(lambda: stack.ping().status_code == 200, 20, "healthy")
    for number in range(20):
        assert do(stack, "body", value=number).json() == number
