#!/usr/bin/env python3
"""What a gRPC call costs a worker: our channel beside gRPC's own, interleaved, in one process under gevent.

    ./bin/local bench bench_grpc_channel [--rounds N] [--seconds S] [--server core|embedded]

The server, in a process of its own, sends back what came: gRPC's asyncio server, whose transport is that of
tensorflow_model_server, or the embedded model server's. The figures are medians over the rounds: the client's CPU time
for each call in microseconds, and calls per second.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

import gevent  # noqa: E402

from support import echo_grpc_server  # noqa: E402
from support.echo_grpc_server import METHOD  # noqa: E402
from tfsd.plan import ModelServer  # noqa: E402
from tfsd.stack.ports import allocate  # noqa: E402
from tfsd.worker.upstream import grpc_gevent  # noqa: E402

grpc_gevent.install()

import grpc  # noqa: E402

from tfsd.worker.upstream import grpc_core_channel  # noqa: E402
from tfsd.worker.upstream.grpc_channel import Channel  # noqa: E402

CASES = [(1, 200), (16, 200), (4, 1_000_000), (1, 19_000_000)]  # greenlets, bytes of a message each way


def measure(channel: grpc.Channel, greenlets: int, size: int, seconds: float) -> tuple[float, float]:
    """CPU microseconds for each call, and calls per second."""
    call, message = channel.unary_unary(METHOD), bytes(size)
    end = time.monotonic() + seconds
    count = 0

    def work() -> None:
        nonlocal count
        while time.monotonic() < end:
            assert len(call(message, timeout=60)) == size
            count += 1

    cpu, started = time.process_time(), time.monotonic()
    gevent.joinall([gevent.spawn(work) for _ in range(greenlets)], raise_error=True)
    return (time.process_time() - cpu) / count * 1e6, count / (time.monotonic() - started)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--server", choices=("core", "embedded"), default="core")
    options = parser.parse_args()
    port = allocate(1)[0]
    server = subprocess.Popen([sys.executable, echo_grpc_server.__file__, options.server, str(port)])
    try:
        channels = {
            "gRPC's": grpc_core_channel.connect([ModelServer("echo", 0, port)], wait=True),
            "ours": Channel([ModelServer("echo", 0, port)]),
        }
        for channel in channels.values():
            channel.unary_unary(METHOD)(b"warm", timeout=20)
        print(f"{'greenlets, bytes':20}{'channel':10}{'CPU µs':>10}{'calls/s':>10}")
        for greenlets, size in CASES:
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in channels}
            for _ in range(options.rounds):
                for name, channel in channels.items():
                    found[name].append(measure(channel, greenlets, size, options.seconds))
            for name, figures in found.items():
                cpu, rate = (statistics.median(column) for column in zip(*figures, strict=True))
                print(f"{f'{greenlets}, {size}':20}{name:10}{cpu:10.0f}{rate:10.0f}")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
