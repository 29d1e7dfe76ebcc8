"""Fuzzing a real stack: sends inputs to the endpoint and to its model servers' gRPC ports, and judges every answer."""

from __future__ import annotations

import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from fuzz.inputs import Inputs
from fuzz.judge import Broken, Processes, judge, send
from support.stack import RunningStack

AT_ONCE = 4
BATCH = 40  # inputs between two looks at the processes
ANSWER_SECONDS = 90.0  # the request limit of 60 s, and a machine under load


def fuzz(stack: RunningStack, seed: int, inputs: int, seconds: float = float("inf")) -> int:
    """Send `inputs` inputs, or as many as fit into `seconds`; returns how many were sent.

    Raises Broken with the input that broke a rule, and when the stack is not healthy afterwards.
    """
    assert stack.process is not None
    source, processes, sent = Inputs(seed), Processes(stack.process.pid), 0
    end = time.monotonic() + seconds

    def one(data: bytes) -> None:
        judge(data, send(stack.port, data, ANSWER_SECONDS))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        while sent < inputs and time.monotonic() < end:
            batch = [source.next() for _ in range(min(BATCH, inputs - sent))]
            for result in [pool.submit(one, data) for data in batch]:
                result.result()
            processes.check(sum(map(len, batch)))
            sent += len(batch)
    for data in (source.next_grpc() for _ in range(sent // 10)):
        for port in grpc_ports(stack):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
                connection.sendall(data)
    processes.check(sent)
    if stack.ping().status_code != 200:
        raise Broken(f"not healthy after {sent} inputs of seed {seed}: {stack.ping().text}")
    return sent


def grpc_ports(stack: RunningStack) -> set[int]:
    """The model servers' gRPC ports, which only this machine's processes reach."""
    return {server.grpc_port for model in stack.plan().models.values() for server in model.servers}
