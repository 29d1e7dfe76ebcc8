"""The gRPC server: ports, TLS, threads, limits, health, statuses. The methods are handed in. Loads no model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tfsd.model_server.errors import ServingError, invalid
from tfsd.model_server.rpc.method import IsActive, Method, details, exhausted, outcome

_MAX_MESSAGE = 2**31 - 1
_STATUS = {code.value[0]: code for code in grpc.StatusCode}


def credentials(ssl_config: Any) -> grpc.ServerCredentials:
    """Server credentials from an SSLConfig message."""
    return grpc.ssl_server_credentials(
        [(ssl_config.server_key.encode(), ssl_config.server_cert.encode())],
        ssl_config.custom_ca.encode() or None,
        ssl_config.client_verify,
    )


class _Threads(ThreadPoolExecutor):
    """Threads that know how many calls they have, waiting ones included."""

    def __init__(self, count: int) -> None:
        super().__init__(count, "grpc")
        self.calls = 0
        self._counting = threading.Lock()

    def submit(self, *call: Any, **more: Any) -> Future[Any]:
        with self._counting:
            self.calls += 1
        future = super().submit(*call, **more)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, _: Future[Any]) -> None:
        with self._counting:
            self.calls -= 1


class _Methods(grpc.GenericRpcHandler):
    """Finds a call's method, or refuses the call when `threads` have `limit` calls already."""

    def __init__(self, methods: Mapping[str, Method], threads: _Threads, limit: int | None) -> None:
        self._threads = threads
        self._limit = limit
        self._handlers = {path: _handler(method) for path, method in methods.items()}
        refuse = _behavior(_refuse)
        refuse.experimental_thread_pool = ThreadPoolExecutor(1, "grpc-refusals")  # type: ignore[attr-defined]
        self._refusal = grpc.unary_unary_rpc_method_handler(refuse)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if self._limit is not None and self._threads.calls >= self._limit:
            return self._refusal
        return self._handlers.get(handler_call_details.method)


def _refuse(request: bytes, is_active: IsActive) -> bytes:
    raise exhausted()


def _handler(method: Method) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(_behavior(method))


def _behavior(method: Method) -> Callable[[bytes, grpc.ServicerContext], Any]:
    def behave(request: bytes, context: grpc.ServicerContext) -> Any:
        answer = outcome(method, request, context.is_active)
        if isinstance(answer, ServingError):
            return context.abort(_STATUS[answer.code.value], details(answer))
        return answer

    return behave


class GrpcServer:
    """A gRPC server on a TCP port and/or a UNIX socket.

    Args:
        methods: path -> method.
        addresses: `HOST:PORT` or `unix:PATH`.
        threads: how many calls are served at once; more wait.
        limit: how many calls there may be, waiting ones included; None for any number. More are refused.
        ssl: server credentials, or None for plain text.
        health_service: serve grpc.health.v1.Health.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        addresses: Sequence[str],
        threads: int,
        limit: int | None = None,
        arguments: Sequence[tuple[str, int | str]] = (),
        ssl: grpc.ServerCredentials | None = None,
        health_service: bool = False,
    ) -> None:
        self._addresses = list(addresses)
        self._ssl = ssl
        self._health = health.HealthServicer() if health_service else None
        options = [
            ("grpc.max_receive_message_length", _MAX_MESSAGE),
            ("grpc.max_send_message_length", _MAX_MESSAGE),
            ("grpc.so_reuseport", 0),  # or a port that is taken would be shared in silence
            *arguments,
        ]
        pool = _Threads(threads)
        self._server = grpc.server(pool, [_Methods(methods, pool, limit)], options=options)
        if self._health is not None:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def start(self) -> None:
        """Listen and serve. Raises ServingError: INVALID_ARGUMENT, an address cannot be listened on."""
        for address in self._addresses:
            try:
                if self._ssl is None:
                    bound = self._server.add_insecure_port(address)
                else:
                    bound = self._server.add_secure_port(address, self._ssl)
            except (RuntimeError, ValueError):
                bound = 0
            if not bound:
                raise invalid("Failed to BuildAndStart gRPC server")
        self._server.start()
        if self._health is not None:
            self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    def stop(self, drain_seconds: float) -> Callable[[], None]:
        """Take no more calls and let those in flight finish; returns a function that waits for them."""
        if self._health is not None:
            self._health.enter_graceful_shutdown()
        return self._server.stop(drain_seconds).wait
