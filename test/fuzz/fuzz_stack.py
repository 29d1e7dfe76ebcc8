"""Fuzzing a real stack: sends inputs to the endpoint and to its model servers' gRPC ports, and judges every answer."""

from __future__ import annotations

import collections
import contextlib
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from fuzz.inputs import Inputs
from fuzz.judge import JUSTIFIED, Broken, Processes, judge, send, shown
from support.multi_model import MultiModelStack
from support.stack import RunningStack

AT_ONCE = 16  # most of those that take long wait for the end of a request that does not come
BATCH = 160  # inputs between two looks at the processes
ANSWER_SECONDS = 90.0  # the request limit of 60 s, and a machine under load

Statuses = collections.Counter[int | None]
"""How often each status came; None stands for a connection that was closed without an answer."""


def fuzz(stack: RunningStack, seed: int, inputs: int, seconds: float = float("inf")) -> Statuses:
    """Send `inputs` inputs, or as many as fit into `seconds`; returns how often each status came.

    A multi-model endpoint has a model m. Raises Broken with the input that broke a rule, and when the stack is not
    healthy afterwards.
    """
    assert stack.process is not None
    source = Inputs(seed, "/models/m/invoke" if isinstance(stack, MultiModelStack) else "/invocations")
    processes, statuses, sent = Processes(stack.process.pid), Statuses(), 0
    end = time.monotonic() + seconds

    def one(data: bytes) -> int | None:
        began = time.monotonic()
        answer = send(stack.port, data, ANSWER_SECONDS)
        judge(data, answer)
        if answer is None:
            return None
        if answer[0] in JUSTIFIED:  # for somebody to judge
            took = time.monotonic() - began
            print(f"fuzz: {answer[0]} after {took:.1f} s {answer[2]!r} for {shown(data)}", file=sys.stderr)
        return answer[0]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        while sent < inputs and time.monotonic() < end:
            batch = [source.next() for _ in range(min(BATCH, inputs - sent))]
            for result in [pool.submit(one, data) for data in batch]:
                statuses[result.result()] += 1
            processes.check(sum(map(len, batch)))
            sent += len(batch)
    for data in (source.next_grpc() for _ in range(sent // 10)):
        for port in grpc_ports(stack):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
                connection.sendall(data)
    processes.check(sent)
    if stack.ping().status_code != 200:
        raise Broken(f"not healthy after {sent} inputs of seed {seed}: {stack.ping().text}")
    return statuses


def grpc_ports(stack: RunningStack) -> set[int]:
    """The model servers' gRPC ports, which only this machine's processes reach."""
    return {server.grpc_port for model in stack.plan().models.values() for server in model.servers}
