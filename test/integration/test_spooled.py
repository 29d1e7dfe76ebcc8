"""The disk that all bodies together may take (SAGEMAKER_TFS_MAX_SPOOLED_MB), on each route that takes bodies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from support.code import add_model
from support.multi_model import MultiModelStack
from support.raw_http import RawConnection
from support.stack import RunningStack

MAX_BODY = 9 << 20
REFUSALS = 5
ENVIRON = {
    "SAGEMAKER_TFS_MAX_BODY_MB": "9",
    "SAGEMAKER_TFS_MAX_SPOOLED_MB": "18",  # two
    "SAGEMAKER_TFS_REST_API": "true",
    "SAGEMAKER_TFS_V2_API": "true",
    "SAGEMAKER_GUNICORN_WORKERS": "1",
}
INPUT_FN = """
def input_fn(serialized_input, content_type):
    return [float(len(serialized_input))]
"""


@pytest.fixture(scope="module")
def stack(
    models: Path, quick_model_server: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    """A model with code of the older Python endpoint, which is the default one, and one without code."""
    directory = tmp_path_factory.mktemp("spooled")
    add_model(directory, "legacy", models / "half_plus_two", INPUT_FN)
    add_model(directory, "plain", models / "half_plus_two")
    quick = {"SAGEMAKER_TFS_BINARY": str(quick_model_server)}
    environ = {**ENVIRON, **quick, "SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "legacy"}
    with RunningStack(tmp_path_factory.mktemp("stack"), directory, environ) as running:
        yield running


@pytest.fixture(scope="module")
def many(
    models: Path, quick_model_server: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MultiModelStack]:
    """A multi-model endpoint with a model that has code, and one without."""
    environ = {**ENVIRON, "SAGEMAKER_TFS_BINARY": str(quick_model_server)}
    with MultiModelStack(tmp_path_factory.mktemp("many"), environ) as running:
        running.loaded("plain", running.lay("plain", models / "half_plus_two"))
        running.loaded("coded", running.lay("coded", models / "half_plus_two", INPUT_FN))
        yield running


@pytest.mark.parametrize(
    "path",
    [
        "/invocations",
        "/v1/models/plain:predict",
        "/v1/models/legacy:predict",
        "/v1/models/plain:classify",
        "/v2/models/plain/infer",
    ],
)
def test_of_a_single_model_endpoint(stack: RunningStack, path: str) -> None:
    assert_bounded(stack, path)


@pytest.mark.parametrize(
    "path",
    [
        "/models/plain/invoke",
        "/models/coded/invoke",
        "/v1/models/plain:predict",
        "/v1/models/coded:predict",
        "/v2/models/plain/infer",
    ],
)
def test_of_a_multi_model_endpoint(many: MultiModelStack, path: str) -> None:
    assert_bounded(many, path)


def test_routes_have_one_bound_together(stack: RunningStack) -> None:
    with (
        begun(stack, "/invocations", b"Content-Length: %d" % MAX_BODY),
        begun(stack, "/v1/models/plain:predict", b"Content-Length: %d" % MAX_BODY),
    ):
        stack.wait_for(
            lambda: status_of(stack, "/v2/models/plain/infer", MAX_BODY)[0] == 503, 60, "one bound"
        )


def assert_bounded(stack: RunningStack, path: str) -> None:
    """Two large bodies at a time are taken, a third is refused, a small one is not, and the two come to their ends."""
    with (
        begun(stack, path, b"Content-Length: %d" % MAX_BODY) as known,
        begun_in_chunks(stack, path) as chunked,
    ):
        assert "SAGEMAKER_TFS_MAX_SPOOLED_MB" in status_of(stack, path, MAX_BODY)[1]
        assert status_of(stack, path, 1000)[0] < 500
        known.send(b"x" * MAX_BODY)
        chunked.send(b"x" * MAX_BODY + b"\r\n0\r\n\r\n")
        assert [connection.answer()[0] < 500 for connection in (known, chunked)] == [True, True]
    stack.wait_for(lambda: status_of(stack, path, MAX_BODY)[0] < 500, 60, "free again")


def begun_in_chunks(stack: RunningStack, path: str) -> RawConnection:
    """A request in chunks, the second of two, that has one of the places on the disk, so that there are none left.

    One that comes while an answered request still has its place, which is for a moment, is taken in memory. In that
    moment a third one is refused as well; when REFUSALS have been in a row it is past, since these take no place.
    """
    end = time.monotonic() + 60
    while time.monotonic() < end:
        connection = begun(stack, path, b"Transfer-Encoding: chunked")
        connection.send(b"%x\r\n" % MAX_BODY)
        refused = 0
        for _ in range(20):
            refused = refused + 1 if status_of(stack, path, MAX_BODY)[0] == 503 else 0
            if refused == REFUSALS:
                return connection
        connection.close()
    raise AssertionError("a third large body is never refused")


def begun(stack: RunningStack, path: str, length: bytes) -> RawConnection:
    """A request whose body has not come yet."""
    connection = RawConnection(stack.port, 120)
    connection.send(b"POST " + path.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n")
    connection.send(length + b"\r\n\r\n")
    return connection


def status_of(stack: RunningStack, path: str, size: int) -> tuple[int, str]:
    """Status and text of the answer to a request with so large a body, which is nothing that a model takes."""
    answer = requests.post(
        stack.url(path), data=b"x" * size, headers={"Content-Type": "text/plain"}, timeout=120
    )
    return answer.status_code, answer.text
