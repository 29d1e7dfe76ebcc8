"""REST as users call it: TensorFlow Serving's documented client, gzip, draining, and a busy server."""

from __future__ import annotations

import gzip
import json
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

CLIENTS = 16
TIMEOUT = 60


@pytest.fixture(scope="module")
def server(models: Path, start_server: Callable[..., Any]) -> Any:
    return start_server(
        f"--model_config_file={models}/models.config",
        "--allow_version_labels_for_unavailable_models=true",
        rest=True,
    )


def url(server: Any, path: str) -> str:
    return f"http://localhost:{server.rest_port}/v1/models/{path}"


def test_the_documented_client(server: Any) -> None:
    """As in TensorFlow Serving's tutorials: requests.post of {"instances": ...}, then json()["predictions"]."""
    images = np.arange(6.0).reshape(2, 3)
    data = json.dumps({"signature_name": "serving_default", "instances": images.tolist()})

    response = requests.post(
        url(server, "matrix:predict"),
        data=data,
        headers={"content-type": "application/json"},
        timeout=TIMEOUT,
    )
    response.raise_for_status()

    assert [row["sum"] for row in response.json()["predictions"]] == [3.0, 12.0]


def test_an_error_has_a_text(server: Any) -> None:
    response = requests.post(url(server, "nosuch:predict"), json={"instances": [1.0]}, timeout=TIMEOUT)

    assert response.status_code == 404
    assert response.json() == {"error": "Servable not found for request: Latest(nosuch)"}


def test_gzip_bodies(server: Any) -> None:
    body = gzip.compress(b'{"instances": [1.0, 2.0]}')
    response = requests.post(
        url(server, "half_plus_two/versions/123:predict"),
        data=body,
        headers={"Content-Encoding": "gzip"},
        timeout=TIMEOUT,
    )

    assert response.json() == {"predictions": [2.5, 3.0]}


def test_a_large_tensor_comes_back_exactly(server: Any) -> None:
    values = np.random.default_rng(1).standard_normal((600, 100)).astype(np.float32)
    values[3, 4], values[5, 6] = np.nan, np.inf
    body = json.dumps({"instances": values.tolist()})

    response = requests.post(url(server, "echo:predict"), data=body, timeout=TIMEOUT)

    got = np.array(response.json()["predictions"], np.float32)
    np.testing.assert_array_equal(got, values)


def test_many_clients_each_get_their_own_answer(server: Any) -> None:
    def client(number: int) -> list[float]:
        with requests.Session() as session:
            return [
                session.post(
                    url(server, "half_plus_two/versions/123:predict"),
                    json={"instances": [float(number * 100 + turn)]},
                    timeout=TIMEOUT,
                ).json()["predictions"][0]
                for turn in range(20)
            ]

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(client, range(CLIENTS)))

    assert answers == [[(n * 100 + t) / 2 + 2 for t in range(20)] for n in range(CLIENTS)]


def test_sigterm_lets_a_request_finish(models: Path, start_server: Callable[..., Any]) -> None:
    server = start_server("--model_name=errors", f"--model_base_path={models}/errors", rest=True)
    answers: list[requests.Response] = []
    body = {"signature_name": "slow", "instances": [100000]}
    client = threading.Thread(
        target=lambda: answers.append(
            requests.post(url(server, "errors:predict"), json=body, timeout=TIMEOUT)
        )
    )
    server.wait_until_busy(client.start)

    exit_code = server.stop(signal.SIGTERM)
    client.join(TIMEOUT)

    assert exit_code == 0
    assert answers[0].status_code == 200, answers[0].text
