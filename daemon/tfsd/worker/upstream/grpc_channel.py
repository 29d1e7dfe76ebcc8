"""The gRPC channel from a worker to the model servers of one model.

A `grpc.Channel` whose unary calls, which are all that TensorFlow Serving has, go over pooled connections of our own:
gRPC's core takes several times the CPU time for a small call under gevent. What is no unary call, or is asked to
compress or to carry credentials, goes to gRPC's own channel (`grpc_core_channel`), made when it is first needed.
Importing this module imports gRPC (17 MB), so whoever may do without imports it late.

`tensorflow_model_server` gives each call a thread and refuses calls beyond `--grpc_max_threads` ("Server Threadpool
Exhausted") instead of letting them wait. So a channel has only so many calls under way; others wait their turn here.
That flag is derived from the limit (`stack.model_server_flags`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from typing import Any

import gevent
import grpc
from gevent.lock import Semaphore

from tfsd.plan import MAX_GRPC_CALLS, ModelServer
from tfsd.worker.upstream import grpc_core_channel, http2
from tfsd.worker.upstream.backend import Backend, Backends, Body
from tfsd.worker.upstream.connection import CutOff, Refused
from tfsd.worker.upstream.current import current
from tfsd.worker.upstream.grpc_answer import MAX_MESSAGE_BYTES, Answer
from tfsd.worker.upstream.grpc_call import CallFailed, EndedCall, PendingCall, failure
from tfsd.worker.upstream.grpc_connection import GrpcConnection
from tfsd.worker.upstream.sockets import grpc_address
from tfsd.worker.upstream.time_limits import Expired, TimeLimits

ATTEMPTS = 3  # a request that kills its model server must not go on doing so
FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 0.5
REMEMBERED_METHODS = 64  # with their codecs

Metadata = Iterable[tuple[str, str | bytes]]
Codec = Callable[[Any], Any] | None


class Channel(grpc.Channel):
    """A channel to the model servers, which take turns; it connects when it is first used.

    It survives restarts as the pooled HTTP connections do: a call that is cut off, or answered UNAVAILABLE, is sent
    again (predictions are idempotent) and, with `wait`, one that finds no model server waits for it, for as long as its
    timeout or the request's time limit says. A call's own `wait_for_ready` takes precedence. A call's timeout begins
    when it is its turn.
    """

    def __init__(
        self, servers: Sequence[ModelServer], wait: bool = True, calls: int = MAX_GRPC_CALLS
    ) -> None:
        self._servers = servers
        self._backends = Backends([_backend(server) for server in servers])
        self._wait = wait
        self._places = Semaphore(calls)
        self._limits: dict[Any, TimeLimits] = {}  # by event loop, as the connections
        # since code makes a stub of all methods for each request
        self.unary_unary = lru_cache(REMEMBERED_METHODS)(self.unary_unary)  # type: ignore[method-assign]
        self._closed = False

    def unary_unary(
        self,
        method: str,
        request_serializer: Codec = None,
        response_deserializer: Codec = None,
        _registered_method: bool | None = False,
    ) -> UnaryCall:
        return UnaryCall(self, method, request_serializer, response_deserializer)

    def call(
        self, method: str, message: Body, timeout: float | None, metadata: Metadata | None, wait: bool | None
    ) -> Answer:
        """Do one call, and again what may be done again. Raises CallFailed when there is no answer.

        The message may be a list of its pieces, which are sent without being copied.
        """
        if self._closed:
            raise ValueError("Cannot invoke RPC on closed channel!")
        size = len(message) if isinstance(message, bytes) else sum(map(len, message))
        if size > MAX_MESSAGE_BYTES:
            raise failure(http2.RESOURCE_EXHAUSTED, f"The request has {size} bytes, which is too much.")
        fields = http2.call_fields(method, b"" if timeout is None else http2.timeout_value(timeout))
        if metadata:
            fields += http2.metadata_fields(metadata)
        wait = self._wait if wait is None else wait
        if timeout is not None and timeout <= 0:
            raise failure(http2.DEADLINE_EXCEEDED, "Deadline Exceeded")
        with self._places:
            if timeout is None:
                return self._attempts(fields, message, wait)
            limits = self._limits.get(hub := gevent.get_hub())
            if limits is None:
                limits = self._limits[hub] = TimeLimits()
            limit = limits.begin(timeout)
            try:
                return self._attempts(fields, message, wait)
            except Expired as expired:
                if expired.limit is not limit:
                    raise
                raise failure(http2.DEADLINE_EXCEEDED, "Deadline Exceeded") from None
            finally:
                limits.end(limit)

    def _attempts(self, fields: bytes, message: Body, wait: bool) -> Answer:
        attempts = 0
        pause = FIRST_PAUSE_SECONDS
        tried: list[Backend[Answer]] = []
        while True:
            backend = self._backends.pick(tried)
            if backend is None:
                failed = failure(http2.UNAVAILABLE, self._down())
                attempts += not wait
            else:
                try:
                    answer = backend.exchange(fields, message)
                except Refused:
                    tried.append(backend)
                    continue
                except CutOff as error:
                    failed = failure(http2.UNAVAILABLE, f"The model server gave no response: {error}.")
                else:
                    if answer.status != http2.UNAVAILABLE:
                        return answer
                    failed = CallFailed(answer)
                attempts += 1
            if attempts == ATTEMPTS:
                raise failed
            gevent.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)
            tried.clear()

    def _down(self) -> str:
        return f"No model server answered ({self._backends}). It is being restarted; try again."

    def close_idle(self) -> None:
        """Close the connections that no call uses."""
        self._backends.close_idle()

    @cached_property
    def core(self) -> grpc.Channel:
        """gRPC's own channel to the same model servers."""
        return grpc_core_channel.connect(self._servers, self._wait)

    @property
    def places(self) -> Semaphore:
        """One for each call that may be under way."""
        return self._places

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        return self.core.unary_stream(*arguments, **options)

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        return self.core.stream_unary(*arguments, **options)

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        return self.core.stream_stream(*arguments, **options)

    def subscribe(self, callback: Any, try_to_connect: bool | None = False) -> None:
        self.core.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Any) -> None:
        self.core.unsubscribe(callback)

    def close(self) -> None:
        self._closed = True
        self.close_idle()
        if "core" in self.__dict__:
            self.core.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *failed: object) -> None:
        self.close()


def _backend(server: ModelServer) -> Backend[Answer]:
    """Its connections; each finds out for itself whether the model server has opened its socket."""
    return Backend(
        server.program,
        server.grpc_socket or server.grpc_port,
        lambda _, timeout: GrpcConnection.connect(grpc_address(server), timeout),
    )


class UnaryCall(grpc.UnaryUnaryMultiCallable):
    """A method that can be called. The arguments are those of gRPC."""

    def __init__(self, channel: Channel, method: str, serializer: Codec, deserializer: Codec) -> None:
        self._channel = channel
        self._method = method
        self._serializer = serializer
        self._deserializer = deserializer

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> Any:
        if credentials is not None or compression:
            with self._channel.places:
                return self._of_core()(request, timeout, metadata, credentials, wait_for_ready, compression)
        return self._response(self._answer(request, timeout, metadata, wait_for_ready))

    def with_call(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> tuple[Any, grpc.Call]:
        if credentials is not None or compression:
            with self._channel.places:
                found: tuple[Any, grpc.Call] = self._of_core().with_call(
                    request, timeout, metadata, credentials, wait_for_ready, compression
                )
                return found
        ended = self._ended(request, timeout, metadata, wait_for_ready)
        return ended.result(), ended

    def future(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> Any:
        if credentials is not None or compression:
            return PendingCall(
                lambda: self.with_call(request, timeout, metadata, credentials, wait_for_ready, compression)[
                    1
                ],
                None,
            )
        deadline = None if timeout is None else time.monotonic() + timeout
        if timeout is None and (asking := current.get()) is not None:
            deadline = asking.deadline
            timeout = deadline - time.monotonic()  # when nobody waits any longer
        return PendingCall(lambda: self._ended(request, timeout, metadata, wait_for_ready), deadline)

    def _ended(
        self, request: Any, timeout: float | None, metadata: Metadata | None, wait: bool | None
    ) -> EndedCall:
        answer = self._answer(request, timeout, metadata, wait)
        return EndedCall(answer, self._response(answer))

    def _answer(
        self, request: Any, timeout: float | None, metadata: Metadata | None, wait: bool | None
    ) -> Answer:
        try:
            message = request if self._serializer is None else self._serializer(request)
        except Exception as error:
            raise failure(http2.INTERNAL, f"Exception serializing request! {error}") from error
        return self._channel.call(self._method, message, timeout, metadata, wait)

    def _response(self, answer: Answer) -> Any:
        if answer.status != http2.OK:
            raise CallFailed(answer)
        if self._deserializer is None:
            return answer.message
        try:
            return self._deserializer(answer.message)
        except Exception as error:
            raise failure(http2.INTERNAL, f"Exception deserializing response! {error}") from error

    def _of_core(self) -> grpc.UnaryUnaryMultiCallable:
        return self._channel.core.unary_unary(self._method, self._serializer, self._deserializer)
