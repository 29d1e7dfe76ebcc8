"""How the `input_fn`/`output_fn` endpoint tells of a model server that fails, hangs or is away."""

from __future__ import annotations

import concurrent.futures
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import stub_model_server
from support.code import add_model
from support.models import built_models
from support.stack import RunningStack

STUB = Path(stub_model_server.__file__).with_name("stub_grpc_model_server.py")
SCRIPT = Path(__file__).parents[1] / "resources" / "legacy" / "scripts" / "only_input.py"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    directory = tmp_path_factory.mktemp("failures")
    add_model(directory, "half_plus_two", built_models("legacy") / "echo", SCRIPT)
    environ = {
        "SAGEMAKER_TFS_BINARY": str(STUB),
        "PYTHONPATH": os.pathsep.join(str(Path(__file__).parents[2] / name) for name in ("daemon",)),
        "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
        "SAGEMAKER_TFS_GRPC_REQUEST_TIMEOUT": "1.5",
        "SAGEMAKER_MODEL_SERVER_TIMEOUT": "15",
    }
    with RunningStack(tmp_path_factory.mktemp("stack"), directory, environ) as running:
        yield running


def fail(stack: RunningStack, wish: str) -> tuple[int, str]:
    answer = stack.invoke(f"predict_pb2.PredictRequest(model_spec={{'signature_name': {wish!r}}})")
    assert answer.headers["Content-Type"] == "application/json"
    return answer.status_code, answer.json()["error"]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("INVALID_ARGUMENT", 400),
        ("NOT_FOUND", 404),
        ("FAILED_PRECONDITION", 400),
        ("RESOURCE_EXHAUSTED", 429),
        ("UNIMPLEMENTED", 501),
        ("INTERNAL", 500),
        ("UNKNOWN", 500),
        ("UNAVAILABLE", 503),
        ("DEADLINE_EXCEEDED", 504),
    ],
)
def test_statuses_become_http_s(stack: RunningStack, code: str, status: int) -> None:
    found, error = fail(stack, code)
    assert found == status
    assert code in error or "SAGEMAKER_TFS_GRPC_REQUEST_TIMEOUT" in error
    assert "Traceback" not in stack.log_text()


def test_a_model_server_that_takes_too_long(stack: RunningStack) -> None:
    status, error = fail(stack, "SLEEP")
    assert status == 504
    assert "1.5 s" in error
    assert "SAGEMAKER_TFS_GRPC_REQUEST_TIMEOUT" in error


def test_a_model_server_that_is_away(stack: RunningStack) -> None:
    assert stack.invoke("[1]").status_code == 200
    (server,) = stack.plan().models["half_plus_two"].servers
    stack.stop_program(server.program)
    answer = stack.invoke("[1]")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "half_plus_two" in answer.json()["error"]
    stack.start_program(server.program)
    stack.wait_for(lambda: stack.invoke("[1]").status_code == 200, 30, "serving")


def test_a_restart_does_not_count_against_a_call_that_has_not_been_sent(stack: RunningStack) -> None:
    (server,) = stack.plan().models["half_plus_two"].servers
    stack.stop_program(server.program)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(stack.invoke, "[1]")
        time.sleep(4)  # more than the call's 1.5 s, less than the request's 15
        stack.start_program(server.program)
        assert waiting.result().status_code == 200
