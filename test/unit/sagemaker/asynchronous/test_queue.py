"""The queue of an asynchronous endpoint, over an endpoint that answers from Python."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from tfsd.sagemaker.asynchronous import queue
from tfsd.sagemaker.asynchronous.notifications import response_body
from tfsd.sagemaker.asynchronous.queue import AsyncInference, AsyncRequest
from tfsd.sagemaker.endpoints.endpoint import Invocation
from tfsd.sagemaker.errors import ServiceUnavailable


class Response:
    status = 200

    def header(self, name: str) -> str:
        return {"Content-Type": "text/plain"}[name]

    def chunks(self) -> Any:
        yield b"answer"


class Endpoint:
    """Two instances of which each may have two requests at a time."""

    config: dict[str, Any] = {  # noqa: RUF012
        "AsyncInferenceConfig": {
            "OutputConfig": {},
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 2},
        }
    }
    deployment = SimpleNamespace(variants={"v": SimpleNamespace(instances=[1, 2])})

    def __init__(self) -> None:
        self.in_flight = self.most = self.count = 0
        self.unavailable = 0

    def invoke(self, invocation: Invocation) -> tuple[str, Response]:
        if self.unavailable:
            self.unavailable -= 1
            raise ServiceUnavailable("No instance is healthy.")
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        gevent.sleep(0.002)
        self.in_flight -= 1
        self.count += 1
        return "v", Response()


class Objects:
    def __init__(self, directory: Path) -> None:
        self.directory, self.stored = directory, dict[str, bytes]()

    def temporary_file(self) -> Path:
        return self.directory / f"{time.time_ns()}-{len(self.stored)}"

    def put_file(self, bucket: str, key: str, path: Path, content_type: str) -> None:
        self.stored[key] = path.read_bytes()


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path)


@pytest.fixture
def asynchronous(endpoint: Endpoint, objects: Objects) -> AsyncInference:
    metrics = SimpleNamespace(add=lambda *_: None)
    found: Any = lambda name: endpoint  # noqa: E731
    return AsyncInference(found, objects, SimpleNamespace(), metrics, gevent.spawn)  # type: ignore[arg-type]


def request(name: str) -> AsyncRequest:
    place = f"s3://bucket/{name}"
    return AsyncRequest("e", "us-west-2", name, {}, b"x", None, place, None, time.time(), 60, 60)


def all_stored(objects: Objects, count: int) -> None:
    with gevent.Timeout(30):
        while len(objects.stored) < count:
            gevent.sleep(0.001)


def test_as_many_at_a_time_as_the_instances_take(
    asynchronous: AsyncInference, endpoint: Endpoint, objects: Objects
) -> None:
    for number in range(20):
        asynchronous.submit(request(str(number)))
    all_stored(objects, 20)
    assert endpoint.most == 4
    assert objects.stored == {str(number): b"answer" for number in range(20)}
    asynchronous.submit(request("later"))
    all_stored(objects, 21)


def test_a_request_waits_for_an_instance_to_be_healthy(
    asynchronous: AsyncInference, endpoint: Endpoint, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "UNAVAILABLE_PAUSE_SECONDS", 0.001)
    endpoint.unavailable = 5
    asynchronous.submit(request("one"))
    all_stored(objects, 1)
    assert endpoint.count == 1


def test_a_request_that_fails_holds_up_no_other(
    asynchronous: AsyncInference, endpoint: Endpoint, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does an update that makes the endpoint a real-time one while requests wait."""
    invoke = endpoint.invoke

    def sometimes(invocation: Invocation) -> tuple[str, Response]:
        if endpoint.count % 2:
            endpoint.count += 1
            raise RuntimeError("a defect")
        return invoke(invocation)

    monkeypatch.setattr(endpoint, "invoke", sometimes)
    for number in range(8):
        asynchronous.submit(request(str(number)))
    endpoint.config = {}
    all_stored(objects, 4)
    with gevent.Timeout(30):
        while endpoint.count < 8:
            gevent.sleep(0.001)


def test_bodies_in_messages() -> None:
    assert response_body(b"text") == {"content": "text", "encoding": "UTF-8"}
    assert response_body(b"\xff") == {"content": "/w==", "encoding": "BASE64"}
    assert response_body(bytes(200_000)) is None
