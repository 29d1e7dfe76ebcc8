"""Choosing TCP ports for the model servers. Never holds one open: a port is only found to be free."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection, Iterable

from tfsd.errors import StartError

FREE_PORTS = range(10_000, 32_768)  # below Linux's ephemeral ports, which outgoing connections take


class PortError(StartError):
    """There are fewer free ports than the stack needs."""


def allocate(
    count: int, allowed: tuple[int, int] | None = None, taken: Collection[int] = (), seed: int | None = None
) -> list[int]:
    """`count` free ports, none of them in `taken`.

    `allowed` is SAGEMAKER_SAFE_PORT_RANGE, both ends included; the lowest free ones of it are used. Without it
    any free port may be used. Raises PortError with the numbers when there are too few.
    """
    candidates: Iterable[int]
    if allowed:
        candidates = range(allowed[0], allowed[1] + 1)
    else:
        candidates = random.Random(seed).sample(FREE_PORTS, len(FREE_PORTS))
    ports: list[int] = []
    for port in candidates:
        if len(ports) == count:
            break
        if port not in taken and is_free(port):
            ports.append(port)
    if len(ports) < count:
        low, high = allowed or (FREE_PORTS.start, FREE_PORTS.stop - 1)
        where = f"SAGEMAKER_SAFE_PORT_RANGE={low}-{high}" if allowed else f"{low}-{high}"
        raise PortError(
            f"the model servers need {count} ports, two for each process; "
            f"{where} has {high - low + 1}, of which {len(ports)} are free"
        )
    return ports


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now."""
    try:
        check(port)
    except OSError:
        return False
    return True


def check(port: int) -> None:
    """Raises OSError, whose `strerror` says why, when no server could listen on `port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("0.0.0.0", port))
