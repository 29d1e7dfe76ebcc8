"""What one route's requests do to the others': nothing. No time is measured (see bench_table for that)."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from support.models import built_models
from support.stack import RunningStack

CLIENTS = 48  # more than are sent to a model server at a time, and many more than workers
ROUNDS = 5
BUSY = """
import pathlib, time

WAITED_FOR = pathlib.Path({waited_for!r})


def handler(data, context):
    data.read()
    {pause}
    return b'{{"done": true}}', 'application/json'
"""
PAUSES = {
    "computing": "while not WAITED_FOR.exists(): pass",  # nothing else in the worker goes on
    "waiting": "while not WAITED_FOR.exists(): time.sleep(0.01)",
}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(params=list(PAUSES))
def held(
    request: pytest.FixtureRequest, quick_model_server: Path, tmp_path: Path
) -> Iterator[tuple[RunningStack, Path]]:
    """A stack of two models, and a file: until it exists, the handler of the model `busy` does not return."""
    waited_for = tmp_path / "go on"
    models = tmp_path / "models"
    models.mkdir()
    (models / "free").symlink_to(built_models() / "half_plus_two")
    shutil.copytree(built_models() / "half_plus_two", models / "busy")
    code = models / "busy" / "code"
    code.mkdir()
    (code / "inference.py").write_text(BUSY.format(waited_for=str(waited_for), pause=PAUSES[request.param]))
    environ = {"SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "free", "SAGEMAKER_TFS_BINARY": str(quick_model_server)}
    with RunningStack(tmp_path / "stack", models, environ) as stack:
        try:
            yield stack, waited_for
        finally:
            waited_for.touch()


def test_no_route_waits_for_a_handler_that_holds_its_workers(held: tuple[RunningStack, Path]) -> None:
    stack, waited_for = held
    begun = threading.Barrier(CLIENTS + 1)

    def ask() -> requests.Response:
        begun.wait()
        return requests.post(stack.url("/invocations"), b"{}", headers=JSON | attributes("busy"), timeout=120)

    with ThreadPoolExecutor(CLIENTS) as pool:
        asked: list[Future[requests.Response]] = [pool.submit(ask) for _ in range(CLIENTS)]
        begun.wait()
        try:
            for _ in range(ROUNDS):
                for route in ROUTES:
                    route(stack)
            assert not any(future.done() for future in asked)
        finally:
            waited_for.touch()
        assert {future.result().status_code for future in asked} == {200}


def attributes(model: str) -> dict[str, str]:
    return {"X-Amzn-SageMaker-Custom-Attributes": f"tfs-model-name={model}"}


def ping(stack: RunningStack) -> None:
    assert stack.ping().status_code == 200


def metrics(stack: RunningStack) -> None:
    assert requests.get(stack.url("/metrics"), timeout=30).status_code == 200


def direct(stack: RunningStack) -> None:
    assert stack.invoke('{"instances": [1.0]}').json() == {"predictions": [3.5]}


def converted(stack: RunningStack) -> None:
    assert len(stack.invoke("1.0\n2.0", "text/csv").json()["predictions"]) == 2


ROUTES: tuple[Callable[[RunningStack], None], ...] = (ping, metrics, direct, converted)
