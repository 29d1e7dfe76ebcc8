"""Requests to asynchronous endpoints: a queue for each endpoint, as many under way as its instances may have.

Owns what waits and what is under way. An answer becomes the object that the client was told of; an error becomes the
failure object, if there is a place for it; topics hear of both. Requests that wait are lost when the emulator ends.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import gevent

from tfsd.sagemaker.asynchronous.notifications import Topics, response_body, result_message
from tfsd.sagemaker.endpoints.endpoint import Endpoint, Invocation
from tfsd.sagemaker.errors import AwsError, ModelError, ServiceUnavailable
from tfsd.sagemaker.instances.http_client import Response
from tfsd.sagemaker.invocations.metrics import COUNT, MICROSECONDS, Metrics
from tfsd.sagemaker.object_store import ObjectStore, ObjectStoreError, split_uri

DEFAULT_CONCURRENCY = 4  # for each instance
DEFAULT_TTL_SECONDS = 21600
DEFAULT_TIMEOUT_SECONDS = 900
UNAVAILABLE_PAUSE_SECONDS = 1.0
WHOLE_BYTES = 32 * 2**20  # larger inputs are sent chunked, from their file
PIECE_BYTES = 1 << 18

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class AsyncRequest:
    """One request, as it waits. Its input is inline (`body`) or at `input_location`; times are in seconds."""

    endpoint: str
    region: str
    inference_id: str
    headers: Mapping[str, str]
    body: bytes | None
    input_location: str | None
    output_location: str
    failure_location: str | None
    received: float
    ttl: float
    timeout: float


class Failed(Exception):
    """The inference has failed; the text is the reason, `content` what the failure object holds."""

    def __init__(self, reason: str, content: bytes | None = None) -> None:
        super().__init__(reason)
        self.content = reason.encode() if content is None else content


class AsyncInference:
    """The queues of all endpoints. `find` finds a live endpoint, `spawn` runs a function beside the requests."""

    def __init__(
        self,
        find: Callable[[str], Endpoint | None],
        objects: ObjectStore,
        topics: Topics,
        metrics: Metrics,
        spawn: Callable[..., gevent.Greenlet],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._find, self._objects, self._topics = find, objects, topics
        self._metrics, self._spawn, self._clock = metrics, spawn, clock
        self._waiting: dict[str, deque[AsyncRequest]] = {}
        self._workers: dict[str, int] = {}

    def submit(self, request: AsyncRequest) -> None:
        """Queue a request; returns at once."""
        name = request.endpoint
        waiting = self._waiting.setdefault(name, deque())
        waiting.append(request)
        self._count(request, "ApproximateBacklogSize", float(len(waiting)), COUNT)
        if self._workers.get(name, 0) < self._concurrency(name):
            self._workers[name] = self._workers.get(name, 0) + 1
            self._spawn(self._work, name)

    def _concurrency(self, name: str) -> int:
        endpoint = self._find(name)
        if endpoint is None or endpoint.deployment is None:
            return 1
        client = endpoint.config.get("AsyncInferenceConfig", {}).get("ClientConfig", {})
        instances = sum(len(variant.instances) for variant in endpoint.deployment.variants.values())
        most: int = client.get("MaxConcurrentInvocationsPerInstance", DEFAULT_CONCURRENCY)
        return most * max(instances, 1)

    def _work(self, name: str) -> None:
        """Take requests until none waits."""
        try:
            while self._waiting[name]:
                request = self._waiting[name].popleft()
                try:
                    self._process(request)
                except Exception:  # the others wait for their turn
                    log.exception(
                        "Asynchronous inference %s failed: a defect of local SageMaker.", request.inference_id
                    )
        finally:
            self._workers[name] -= 1

    def _process(self, request: AsyncRequest) -> None:
        began = self._clock()
        self._count(request, "TimeInBacklog", (began - request.received) * 1e6, MICROSECONDS)
        response: dict[str, Any] | None = None
        failure: Failed | None = None
        try:
            response = self._answer(request)
        except Failed as error:
            failure = error
            self._store_failure(request, error)
        self._count(request, "InvocationFailures" if failure else "InvocationsProcessed", 1.0, COUNT)
        self._count(request, "TotalProcessingTime", (self._clock() - began) * 1e6, MICROSECONDS)
        self._notify(request, response, failure)

    def _answer(self, request: AsyncRequest) -> dict[str, Any]:
        """responseParameters of a request that was answered and stored. Raises Failed."""
        while True:
            if self._clock() - request.received > request.ttl:
                self._count(request, "ExpiredRequests", 1.0, COUNT)
                raise Failed(
                    f"ClientError: The request waited for longer than its RequestTTLSeconds ({request.ttl:g})."
                )
            endpoint = self._find(request.endpoint)
            if endpoint is None:
                raise Failed(f"ClientError: The endpoint {request.endpoint} was deleted.")
            try:
                return self._invoke(endpoint, request)
            except ServiceUnavailable:
                gevent.sleep(UNAVAILABLE_PAUSE_SECONDS)
            except ModelError as error:
                original = error.members.get("OriginalMessage") or error.message
                raise Failed(f"ClientError: {error.message}", original.encode()) from error
            except (AwsError, OSError, ObjectStoreError, ValueError) as error:
                raise Failed(f"ClientError: {error}") from error

    def _invoke(self, endpoint: Endpoint, request: AsyncRequest) -> dict[str, Any]:
        invocation = Invocation(self._input(request), request.headers, seconds=request.timeout)
        variant, response = endpoint.invoke(invocation)
        if response.status >= 400:
            raise endpoint.model_error(variant, response)
        content_type = response.header("Content-Type")
        size, first = self._store(request.output_location, response, content_type)
        config = _notification_config(endpoint)
        include = "SUCCESS_NOTIFICATION_TOPIC" in config.get("IncludeInferenceResponseIn", ())
        return {
            "contentType": content_type,
            "outputLocation": request.output_location,
            "responseBody": response_body(first) if include and size == len(first) else None,
        }

    def _input(self, request: AsyncRequest) -> bytes | Iterable[bytes]:
        if request.body is not None:
            return request.body
        assert request.input_location is not None
        bucket, key = split_uri(request.input_location)
        file = self._objects.open(bucket, key)
        found = self._objects.find(bucket, key)
        if found is None or found.size <= WHOLE_BYTES:
            with file:
                return file.read()

        def pieces() -> Iterator[bytes]:
            with file:
                while piece := file.read(PIECE_BYTES):
                    yield piece

        return pieces()

    def _store(self, uri: str, response: Response, content_type: str | None) -> tuple[int, bytes]:
        """Make an answer an object, however large; its size, and its beginning."""
        path = self._objects.temporary_file()
        size, first = 0, b""
        try:
            with path.open("wb") as file:
                for chunk in response.chunks():
                    first = first or chunk
                    size += file.write(chunk)
            bucket, key = split_uri(uri)
            self._objects.put_file(bucket, key, path, content_type or "application/octet-stream")
        finally:
            path.unlink(missing_ok=True)
        return size, first

    def _store_failure(self, request: AsyncRequest, failure: Failed) -> None:
        if request.failure_location is None:
            log.error("Asynchronous inference %s failed: %s", request.inference_id, failure)
            return
        try:
            bucket, key = split_uri(request.failure_location)
            self._objects.put(bucket, key, failure.content, "application/json")
        except (ObjectStoreError, OSError, ValueError) as error:
            log.error("The failure of %s cannot be stored: %s", request.inference_id, error)

    def _notify(self, request: AsyncRequest, response: dict[str, Any] | None, failure: Failed | None) -> None:
        endpoint = self._find(request.endpoint)
        if endpoint is None or endpoint.deployment is None:
            return
        config = _notification_config(endpoint)
        topic = config.get("ErrorTopic" if failure else "SuccessTopic")
        if not topic:
            return
        if failure and "ERROR_NOTIFICATION_TOPIC" in config.get("IncludeInferenceResponseIn", ()):
            response = {"responseBody": response_body(failure.content)}
        asked = {
            "accept": request.headers.get("Accept"),
            "contentType": request.headers.get("Content-Type"),
            "customAttributes": request.headers.get("X-Amzn-SageMaker-Custom-Attributes"),
            "endpointName": request.endpoint,
            "inputLocation": request.input_location,
        }
        message = result_message(
            region=request.region,
            inference_id=request.inference_id,
            received=request.received,
            now=self._clock(),
            request=asked,
            response=response,
            failure=None if failure is None else str(failure),
        )
        self._topics.publish(topic, message)

    def _count(self, request: AsyncRequest, name: str, value: float, unit: str) -> None:
        self._metrics.add(request.region, name, value, unit, {"EndpointName": request.endpoint})


def _notification_config(endpoint: Endpoint) -> dict[str, Any]:
    """NotificationConfig as it is now: an update may have changed it, or made the endpoint a real-time one."""
    output: dict[str, Any] = endpoint.config.get("AsyncInferenceConfig", {}).get("OutputConfig", {})
    config: dict[str, Any] = output.get("NotificationConfig", {})
    return config
