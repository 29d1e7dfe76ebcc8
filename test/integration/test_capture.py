"""Captured requests of a real stack, replayed against it, and made into warm-up requests."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import requests

from integration.conftest import StartStack
from support.code import add_model
from support.multi_model import MultiModelStack
from support.stack import RunningStack
from tfsd.capture_format import Body, Invocation
from tfsd.local.captures import CaptureError, invocations
from tfsd.run_dir import RunDir
from tfsd.stack import nginx
from tfsd.stack.design import MAX_CAPTURE_LOG_BYTES

HANDLER = """
def handler(data, context):
    return data.read() + b"!", "text/csv"
"""
JSON = "application/json"
NATIVE = '{"instances": [1.0, 2.0]}'


@pytest.fixture(scope="module")
def model_dir(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model that requests reach directly, one with a handler; copies, since warm-up requests are written."""
    directory = tmp_path_factory.mktemp("models")
    add_model(directory, "coded", models / "half_plus_two", HANDLER)
    (directory / "plain").mkdir()
    for version in (models / "half_plus_three").iterdir():
        subprocess.run(["cp", "-rL", version, directory / "plain"], check=True)
    return directory


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("captured")


@pytest.fixture(scope="module")
def stack(model_dir: Path, captured: Path, start_stack: StartStack) -> RunningStack:
    return start_stack(
        model_dir,
        SAGEMAKER_TFS_CAPTURE_DIR=str(captured),
        SAGEMAKER_TFS_DEFAULT_MODEL_NAME="plain",
        SAGEMAKER_GUNICORN_WORKERS="1",
    )


@pytest.fixture(scope="module")
def requests_of_both_kinds(stack: RunningStack, captured: Path) -> list[Invocation]:
    """What is captured of four requests, by their ids."""
    coded = "tfs-model-name=coded"
    answers = [
        stack.invoke(NATIVE, JSON, X_Amzn_SageMaker_Inference_Id="1-direct"),
        stack.invoke("5.0\n", "text/csv", X_Amzn_SageMaker_Inference_Id="2-converted", Accept=JSON),
        stack.invoke(
            b"\x89PNG", "application/x-image", X_Amzn_SageMaker_Inference_Id="3-handler", attributes=coded
        ),
        stack.invoke('{"instances": ["x"]}', JSON, X_Amzn_SageMaker_Inference_Id="4-refused"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 400]
    found: list[Invocation] = []

    def all_there() -> bool:
        try:
            found[:] = list(invocations(captured))
        except CaptureError:
            return False
        return len(found) >= len(answers)

    stack.wait_for(all_there, 30, "captured")
    return sorted(found, key=lambda invocation: invocation.inference_id or "")


def run_local(*words: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tfsd.local", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environ}, timeout=240)


def test_requests_on_every_route_are_captured(requests_of_both_kinds: list[Invocation]) -> None:
    direct, converted, handler, refused = requests_of_both_kinds
    assert direct.inference_id == "1-direct"
    assert direct.request == Body(NATIVE.encode(), JSON)
    assert direct.response is not None
    assert direct.response.content_type == JSON
    assert b"3.5" in direct.response.data
    assert converted.request == Body(b"5.0\n", "text/csv")
    assert handler == Invocation(
        Body(b"\x89PNG", "application/x-image"),
        Body(b"\x89PNG!", "text/csv"),
        "3-handler",
        "tfs-model-name=coded",
    )
    assert refused.response is not None
    assert b'"error"' in refused.response.data


@pytest.fixture(scope="module")
def by_nginx(
    model_dir: Path, start_stack: StartStack, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunningStack, Path]:
    """A stack whose nginx captures, and where it does."""
    if not nginx.find().njs:
        pytest.skip("nginx has no njs: a worker captures")
    captured = tmp_path_factory.mktemp("captured")
    stack = start_stack(
        model_dir,
        SAGEMAKER_TFS_CAPTURE_DIR=str(captured),
        SAGEMAKER_TFS_DEFAULT_MODEL_NAME="plain",
        SAGEMAKER_GUNICORN_WORKERS="1",
    )
    return stack, captured


def test_nginx_itself_captures_what_goes_straight_to_a_model_server(
    by_nginx: tuple[RunningStack, Path],
) -> None:
    """Attributes are noted as well, which a script reads, and an error."""
    stack, captured = by_nginx
    answers = [
        stack.invoke(
            NATIVE, JSON, X_Amzn_SageMaker_Inference_Id="5-named", attributes="tfs-model-name=plain"
        ),
        stack.invoke('{"instances": [1.0], "x": 1}', JSON, X_Amzn_SageMaker_Inference_Id="6-refused"),
    ]
    assert answers[0].status_code == 200

    def lines() -> str:
        return "".join(path.read_text() for path in captured.rglob("nginx-*.jsonl"))

    stack.wait_for(lambda: '"5-named"' in lines() and '"6-refused"' in lines(), 30, "captured by nginx")
    found = {
        invocation.inference_id: invocation
        for path in captured.rglob("nginx-*.jsonl")
        for invocation in invocations(path)
    }
    assert found["5-named"].custom_attributes == "tfs-model-name=plain"
    for name, answer in zip(("5-named", "6-refused"), answers, strict=True):
        response = found[name].response
        assert response is not None
        assert response.data == answer.content
    written = "tfsd_capture_written_total 2.0"
    stack.wait_for(lambda: written in requests.get(stack.url("/metrics"), timeout=10).text, 30, "counted")
    stack.wait_for(lambda: requests_by_route(stack)["direct"] == 2, 30, "counted as direct")


def test_nginx_s_log_of_captures_is_bounded_while_control_does_not_move_its_lines(
    by_nginx: tuple[RunningStack, Path],
) -> None:
    stack, _ = by_nginx
    run_dir, control = RunDir(stack.run_dir), stack.pid("control")
    os.kill(control, signal.SIGSTOP)
    try:
        os.truncate(run_dir.capture_log, MAX_CAPTURE_LOG_BYTES)
        before = run_dir.capture_log.stat()
        assert [stack.invoke(NATIVE, JSON).status_code for _ in range(3)] == [200] * 3
        stack.wait_for(lambda: run_dir.dropped_captures.stat().st_size == 3, 30, "dropped")
        assert run_dir.capture_log.stat().st_size == before.st_size
    finally:
        os.kill(control, signal.SIGCONT)
    lost = 'tfsd_capture_lost_total{reason="backlog"} 3.0'
    stack.wait_for(lambda: lost in requests.get(stack.url("/metrics"), timeout=10).text, 30, "counted")
    assert not run_dir.dropped_captures.exists()


def requests_by_route(stack: RunningStack) -> Counter[str]:
    page = requests.get(stack.url("/metrics"), timeout=10).text
    counts: Counter[str] = Counter()
    for route, count in re.findall(r'tfsd_requests_total\{[^}]*route="(\w+)"[^}]*\} ([0-9.]+)', page):
        counts[route] += int(float(count))
    return counts


@pytest.mark.usefixtures("requests_of_both_kinds")
def test_a_replay_against_the_same_stack_is_equal(
    stack: RunningStack, captured: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "capture.jsonl"  # the replay is captured as well
    copy.write_text("".join(path.read_text() for path in captured.rglob("*.jsonl")))
    done = run_local("replay", copy, "--url", stack.url(""))
    assert done.stdout == "bin/local: 4 requests sent; responses: 4 equal, 0 different.\n", done.stderr
    assert done.returncode == 0
    copy.write_text(copy.read_text().replace("3.5", "3.6"))
    done = run_local("replay", copy, "--url", stack.url(""))
    assert done.returncode == 1
    assert "id 1-direct" in done.stdout
    assert "3.6" in done.stdout


@pytest.mark.usefixtures("requests_of_both_kinds")
def test_warm_up_requests_are_replayed_by_the_model_server(
    model_dir: Path, captured: Path, start_stack: StartStack
) -> None:
    environ = {
        "SAGEMAKER_TFS_ENABLE_BATCHING": "true",
        "SAGEMAKER_TFS_ALLOWED_BATCH_SIZES": "1,2,4",
        "SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "plain",
    }
    done = run_local("warmup", captured, model_dir, **environ)
    assert done.returncode == 0, done.stderr
    assert (
        "plain: 3 warm-up requests in" in done.stdout
    )  # batches of 1, 2 and 4; 2 is the request that was sent
    assert "the model refuses 1: " in done.stdout
    assert "requests skipped" in done.stdout
    warmed = start_stack(model_dir, **environ)
    assert "tf_serving_warmup_requests: 3 records" in warmed.log_text()
    assert warmed.invoke(NATIVE, JSON).json() == {"predictions": [3.5, 4.0]}


def test_a_directory_that_cannot_be_written_fails_no_request(
    model_dir: Path, start_stack: StartStack
) -> None:
    stack = start_stack(
        model_dir,
        SAGEMAKER_TFS_CAPTURE_DIR="/proc/captured",
        SAGEMAKER_TFS_DEFAULT_MODEL_NAME="plain",
        SAGEMAKER_GUNICORN_WORKERS="1",
    )
    for _ in range(20):
        assert stack.invoke(NATIVE, JSON).status_code == 200
    stack.wait_for(
        lambda: "sampled requests were not captured: /proc/" in stack.log_text(), 30, "said in the log"
    )
    lost = 'tfsd_capture_lost_total{reason="disk"} 20.0'
    stack.wait_for(
        lambda: lost in requests.get(stack.url("/metrics"), timeout=10).text, 30, "counted in the metrics"
    )
    assert stack.log_text().count("were not captured") == 1


def test_models_of_a_multi_model_endpoint_are_captured_and_replayed_by_name(
    models: Path, quick_model_server: Path, tmp_path: Path
) -> None:
    captured = tmp_path / "captured"
    environ = {
        "SAGEMAKER_TFS_BINARY": str(quick_model_server),
        "SAGEMAKER_TFS_CAPTURE_DIR": str(captured),
        "SAGEMAKER_GUNICORN_WORKERS": "1",
    }
    captured.mkdir()
    with MultiModelStack(tmp_path / "stack", environ) as stack:
        stack.loaded("a b+c", stack.lay("two", models / "half_plus_two"))
        stack.loaded("coded", stack.lay("coded", models / "half_plus_two", HANDLER))
        sent = {"1-direct": "a b+c", "2-direct": "a b+c", "3-handler": "coded"}
        answers = {
            number: stack.ask(name, NATIVE, X_Amzn_SageMaker_Inference_Id=number)
            for number, name in sent.items()
        }
        assert {answer.status_code for answer in answers.values()} == {200}
        for answer in answers.values():  # straight to the model server if they were not captured
            by_worker = rf" route=worker .* id={answer.headers['X-Request-Id']} "
            stack.wait_for(lambda line=by_worker: re.search(line, stack.log_text()), 20, "logged")
        copy = tmp_path / "capture.jsonl"  # the replay is captured as well

        def all_there() -> bool:
            copy.write_text("".join(path.read_text() for path in captured.rglob("*.jsonl")))
            return copy.read_text().count("\n") >= 3

        stack.wait_for(all_there, 30, "captured")
        found = {invocation.inference_id: invocation for invocation in invocations(copy)}
        assert {number: invocation.target_model for number, invocation in found.items()} == sent
        first, coded = found["1-direct"].response, found["3-handler"].response
        assert first is not None
        assert json.loads(first.data) == answers["1-direct"].json()
        assert coded == Body(f"{NATIVE}!".encode(), "text/csv")

        done = run_local("replay", copy, "--url", stack.url(""))
        assert done.stdout == "bin/local: 3 requests sent; responses: 3 equal, 0 different.\n", done.stderr
        stack.unload("coded")
        done = run_local("replay", copy, "--url", stack.url(""))
        assert (done.returncode, "1 differ" in done.stdout) == (1, True), done.stdout
