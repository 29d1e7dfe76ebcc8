"""Ports of containers: below those that a stack takes for its model servers, and never one twice at a time.

A port that was taken stays reserved against other programs, a second emulator for one, by a socket that is bound and
does not listen: on Linux a container may bind to it all the same, as every server sets SO_REUSEADDR.
"""

from __future__ import annotations

import random
import socket

ENDPOINT_PORTS = range(7000, 8000)
PIPELINE_PORTS = range(8100, 10_000)  # ports for what runs inside a container of a pipeline
PORTS_OF_A_CONTAINER = 30


class PortsExhausted(Exception):
    """There are more containers than ports."""


class Ports:
    """What is taken until it is given back."""

    def __init__(self) -> None:
        self._reserved: dict[int, socket.socket | None] = {}
        self._ranges: set[int] = set()

    def take(self) -> int:
        """A port to bind to."""
        for port in random.sample(ENDPOINT_PORTS, len(ENDPOINT_PORTS)):
            if port in self._reserved:
                continue
            reserved = _bound(port)
            if reserved:
                reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self._reserved[port] = reserved
                return port
        raise PortsExhausted(f"All ports from {ENDPOINT_PORTS.start} to {ENDPOINT_PORTS.stop - 1} are taken.")

    def take_range(self) -> tuple[int, int]:
        """An inclusive range for SAGEMAKER_SAFE_PORT_RANGE."""
        lows = PIPELINE_PORTS[::PORTS_OF_A_CONTAINER]
        for low in random.sample(lows, len(lows)):
            ports = range(low, low + PORTS_OF_A_CONTAINER)
            if low not in self._ranges and all(map(_is_free, ports)):
                self._ranges.add(low)
                return ports[0], ports[-1]
        raise PortsExhausted(
            f"All ports from {PIPELINE_PORTS.start} to {PIPELINE_PORTS.stop - 1} are taken by pipelines."
        )

    def release(self, port: int) -> None:
        """For what binds without SO_REUSEADDR, Docker for one: the port stays taken, but is not bound any more."""
        reserved = self._reserved[port]
        if reserved:
            reserved.close()
        self._reserved[port] = None

    def give_back(self, port: int) -> None:
        """A port, or the lower end of a range."""
        self._ranges.discard(port)
        reserved = self._reserved.pop(port, None)
        if reserved:
            reserved.close()


def _bound(port: int) -> socket.socket | None:
    """A socket that is bound to a port that nobody else has bound."""
    bound = socket.socket()
    try:
        bound.bind(("0.0.0.0", port))
    except OSError:
        bound.close()
        return None
    return bound


def _is_free(port: int) -> bool:
    bound = _bound(port)
    if bound:
        bound.close()
    return bound is not None
