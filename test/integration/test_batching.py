"""Batching in the model server, as SAGEMAKER_TFS_ENABLE_BATCHING and its parameters ask for it."""

from __future__ import annotations

import concurrent.futures
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from support.stack import RunningStack

CLIENTS = 32
REQUESTS = 20  # by each client


@pytest.fixture(scope="module")
def stack(
    models: Path, start_stack: Callable[..., RunningStack], tmp_path_factory: pytest.TempPathFactory
) -> RunningStack:
    directory = tmp_path_factory.mktemp("batching")
    (directory / "half_plus_two").symlink_to(models / "half_plus_two")
    return start_stack(
        directory,
        SAGEMAKER_TFS_ENABLE_BATCHING="true",
        SAGEMAKER_TFS_MAX_BATCH_SIZE="16",
        SAGEMAKER_TFS_BATCH_TIMEOUT_MICROS="2000",
        SAGEMAKER_TFS_NUM_BATCH_THREADS="3",
        SAGEMAKER_TFS_MAX_ENQUEUED_BATCHES="100",
        SAGEMAKER_TFS_ALLOWED_BATCH_SIZES="4,16",
        SAGEMAKER_TFS_ENABLE_LARGE_BATCH_SPLITTING="true",
        SAGEMAKER_TFS_MAX_EXECUTION_BATCH_SIZE="4",
    )


def test_parameters_reach_the_model_server(stack: RunningStack) -> None:
    lines = (stack.run_dir / "batching.conf").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "max_batch_size { value: 16 }",
        "batch_timeout_micros { value: 2000 }",
        "num_batch_threads { value: 3 }",
        "max_enqueued_batches { value: 100 }",
        "allowed_batch_sizes: 4",
        "allowed_batch_sizes: 16",
        "enable_large_batch_splitting { value: true }",
        "max_execution_batch_size { value: 4 }",
    ]
    configuration = (stack.run_dir / "supervisord.conf").read_text()
    assert f"--enable_batching=true --batching_parameters_file={stack.run_dir}/batching.conf" in configuration


def test_many_clients_get_their_own_answers(stack: RunningStack) -> None:
    def client(number: int) -> list[bool]:
        session = requests.Session()
        right = []
        for request in range(REQUESTS):
            rows = [number * 1000 + request + row for row in range(1 + (number + request) % 4)]
            csv = request % 2
            body = "".join(f"{x}\n" for x in rows) if csv else json.dumps({"instances": rows})
            headers = {"Content-Type": "text/csv" if csv else "application/json"}
            answer = session.post(stack.url("/invocations"), data=body, headers=headers, timeout=30)
            right.append(answer.json() == {"predictions": [x / 2 + 3 for x in rows]})
        return right

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as threads:
        for right in threads.map(client, range(CLIENTS)):
            assert right == [True] * REQUESTS


@pytest.mark.parametrize("content_type", ["application/json", "text/csv"])
def test_request_of_more_rows_than_a_batch_is_refused(stack: RunningStack, content_type: str) -> None:
    def ask(count: int) -> requests.Response:
        rows = [float(x) for x in range(count)]
        body = json.dumps({"instances": rows}) if "json" in content_type else "".join(f"{x}\n" for x in rows)
        return stack.invoke(body, content_type)

    assert ask(16).json() == {"predictions": [x / 2 + 3 for x in range(16)]}
    answer = ask(17)
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/json")
    assert answer.json()["error"] == "Task size 17 is larger than maximum input batch size 16"
    assert stack.ping().status_code == 200
