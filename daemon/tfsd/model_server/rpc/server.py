"""The gRPC server: ports, TLS, threads, limits, health. The services are handed in. Loads no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from tfsd.model_server.errors import invalid

_MAX_MESSAGE = 2**31 - 1

#: Adds a service to a server.
AddService = Callable[[grpc.Server], None]


def parse_channel_arguments(text: str) -> list[tuple[str, int | str]]:
    """--grpc_channel_arguments: comma-separated name=value; values that are numbers are passed as such.

    Raises ServingError: INVALID_ARGUMENT for an entry without `=`.
    """
    arguments: list[tuple[str, int | str]] = []
    for entry in filter(None, text.split(",")):
        name, equals, value = entry.partition("=")
        if not name or not equals:
            raise invalid(
                f"--grpc_channel_arguments takes name=value pairs, separated by commas; got '{entry}'"
            )
        try:
            arguments.append((name, int(value)))
        except ValueError:
            arguments.append((name, value))
    return arguments


def credentials(ssl_config: Any) -> grpc.ServerCredentials:
    """Server credentials from an SSLConfig message."""
    return grpc.ssl_server_credentials(
        [(ssl_config.server_key.encode(), ssl_config.server_cert.encode())],
        ssl_config.custom_ca.encode() or None,
        ssl_config.client_verify,
    )


class GrpcServer:
    """A gRPC server on a TCP port and/or a UNIX socket.

    Args:
        addresses: `HOST:PORT` or `unix:PATH`.
        ssl: server credentials, or None for plain text.
        health_service: serve grpc.health.v1.Health.
    """

    def __init__(
        self,
        services: Sequence[AddService],
        addresses: Sequence[str],
        threads: int,
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
        self._server = grpc.server(ThreadPoolExecutor(threads, "grpc"), options=options)
        for add in services:
            add(self._server)
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
