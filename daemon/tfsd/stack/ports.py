"""TCP ports: the endpoint's own, which is taken before anything else starts, and free ones for the model servers."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Collection, Iterable, Iterator, Sequence

from tfsd.errors import StartError

LISTENER = "TFSD_LISTENER"  # the variable that hands on the descriptor of the endpoint's listening socket
BACKLOG = 4096
PORT_TAKEN = "not started, since another process has its port"  # what supervisord says of a model server
FREE_PORTS = range(10_000, 32_768)  # below Linux's ephemeral ports, which outgoing connections take


class PortError(StartError):
    """The endpoint's port cannot be had, or there are fewer free ports than the stack needs."""


def listen(address: str, port: int) -> socket.socket:
    """The endpoint's listening socket, taken: clients wait in its backlog until nginx accepts.

    Child processes inherit it. Raises PortError.
    """
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise PortError(_refusal(address, port, error)) from None
    listener.set_inheritable(True)
    return listener


def _refusal(address: str, port: int, error: OSError) -> str:
    choose = "choose another with --port or SAGEMAKER_BIND_TO_PORT"
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use; {choose}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no address {address}; see --host and SAGEMAKER_TFS_BIND_ADDRESS"
    if error.errno == errno.EACCES:
        return f"port {port} is for root only, as those below 1024 are; {choose}"
    return f"port {port} of {address}: {error.strerror}; {choose}"


def allocate(
    count: int, allowed: tuple[int, int] | None = None, taken: Collection[int] = (), seed: int | None = None
) -> list[int]:
    """`count` free ports, none of them in `taken`.

    `allowed` is SAGEMAKER_SAFE_PORT_RANGE, both ends included; the lowest free ones of it are used. Without it
    any free port may be used. Raises PortError with the numbers when there are too few.
    """
    any_order = _in_any_order(FREE_PORTS, random.Random(seed))
    candidates: Iterable[int] = range(allowed[0], allowed[1] + 1) if allowed else any_order
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


def _in_any_order(ports: range, chance: random.Random) -> Iterator[int]:
    """All of them, each drawn when it is asked for: to shuffle them all takes 20 ms, and few are used."""
    moved: dict[int, int] = {}  # where a place that was drawn has the last one's, as Fisher and Yates shuffle
    for last in range(len(ports) - 1, -1, -1):
        drawn = chance.randint(0, last)
        yield ports[moved.get(drawn, drawn)]
        moved[drawn] = moved.get(last, last)


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def ports_of(words: Sequence[str]) -> list[int]:
    """The ports that a model server with this command line opens; none for another program."""
    named = (word.partition("=") for word in words if word.startswith(("--port=", "--rest_api_port=")))
    return [int(value) for _, _, value in named if value.isdigit() and int(value)]
