"""Ports of containers: below those that a stack takes for its model servers, and never one twice at a time."""

from __future__ import annotations

import socket

ENDPOINT_PORTS = range(7000, 8000)
PIPELINE_PORTS = range(8100, 10_000)  # ports for what runs inside a container of a pipeline
PORTS_OF_A_CONTAINER = 30


class PortsExhausted(Exception):
    """There are more containers than ports."""


class Ports:
    """What is taken until it is given back."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def take(self) -> int:
        """A port to bind to."""
        for port in ENDPOINT_PORTS:
            if port not in self._taken and _is_free(port):
                self._taken.add(port)
                return port
        raise PortsExhausted(f"All ports from {ENDPOINT_PORTS.start} to {ENDPOINT_PORTS.stop - 1} are taken.")

    def take_range(self) -> tuple[int, int]:
        """An inclusive range for SAGEMAKER_SAFE_PORT_RANGE."""
        for low in PIPELINE_PORTS[::PORTS_OF_A_CONTAINER]:
            ports = range(low, low + PORTS_OF_A_CONTAINER)
            if low not in self._taken and all(map(_is_free, ports)):
                self._taken.add(low)
                return ports[0], ports[-1]
        raise PortsExhausted(
            f"All ports from {PIPELINE_PORTS.start} to {PIPELINE_PORTS.stop - 1} are taken by pipelines."
        )

    def give_back(self, port: int) -> None:
        """A port, or the lower end of a range."""
        self._taken.discard(port)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True
