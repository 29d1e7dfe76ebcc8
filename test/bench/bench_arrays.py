#!/usr/bin/env python3
"""What a batch of floats costs in front of the model as JSON, as CSV and as an .npy file, interleaved.

    ./bin/local bench bench_arrays [--rounds N] [--seconds S]

The same float32 array each time: 8-bit pixels divided by 255, JSON and CSV with as few digits as they need. The model
server is a stub that answers a number for each row, by gRPC's own transport for arrays. "CPU" is that of nginx and the
worker (user and system) for each request in milliseconds, medians over the rounds, one client; "memory" what both have
grown by at the most since the start during the first request (proportional set size; files that nginx writes are not
counted), in multiples of the body, small bodies and arrays first.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import http.client
import io
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from support.stack import RunningStack

ROOT = Path(__file__).resolve().parents[2]
STUB = ROOT / "test" / "support" / "stub_grpc_model_server.py"
SHAPES = {"100 kB": (25, 1000), "1 MB": (250, 1000), "10 MB": (2500, 1000), "19 MB": (32, 224, 224, 3)}
TICKS = os.sysconf("SC_CLK_TCK")
JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"


def as_npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def as_json(array: Any) -> bytes:
    return orjson.dumps({"instances": array}, option=orjson.OPT_SERIALIZE_NUMPY)


def as_csv(array: Any) -> bytes:
    rows = array.reshape(len(array), -1)
    return b"".join(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] + b"\n" for row in rows)


FORMS: dict[str, Callable[[Any], bytes]] = {JSON: as_json, CSV: as_csv, NPY: as_npy}


@dataclasses.dataclass
class Case:
    size: str
    content_type: str
    body: bytes
    cpu: list[float] = dataclasses.field(default_factory=list)
    nginx: list[float] = dataclasses.field(default_factory=list)
    memory: list[float] = dataclasses.field(default_factory=list)


class Client:
    """Sends requests over one connection and sees what they cost."""

    def __init__(self, stack: RunningStack) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=120)
        master = stack.pid("nginx")
        self._nginx = [master, *children(master)]
        self._workers = [
            stack.pid(worker.program) for pool in stack.plan().pools.values() for worker in pool.workers
        ]

    def post(self, case: Case) -> None:
        self._connection.request("POST", "/invocations", case.body, {"Content-Type": case.content_type})
        response = self._connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise SystemExit(f"{case.content_type}, {case.size}: {response.status} {text[:300]!r}")

    def measure(self, case: Case, seconds: float) -> None:
        nginx, worker = cpu(self._nginx), cpu(self._workers)
        count, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            self.post(case)
            count += 1
        took_nginx, took_worker = cpu(self._nginx) - nginx, cpu(self._workers) - worker
        case.nginx.append(took_nginx / count * 1000)
        case.cpu.append((took_nginx + took_worker) / count * 1000)

    def begin(self) -> None:
        """Remember how much memory is used before anything large was sent."""
        self._before = self._memory()

    def growth(self, case: Case) -> None:
        peak, done = 0, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.is_set():
                peak = max(peak, self._memory())

        watcher = threading.Thread(target=watch)
        watcher.start()
        self.post(case)
        done.set()
        watcher.join()
        case.memory.append((peak - self._before) / len(case.body))

    def _memory(self) -> int:
        return sum(map(proportional, [*self._nginx, *self._workers]))


def children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def cpu(pids: list[int]) -> float:
    """User and system time of the processes, in seconds."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def proportional(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="of requests, for each case in each round")
    parser.add_argument("--only", choices=list(SHAPES), action="append", help="these sizes")
    options = parser.parse_args()
    cases = []
    for size in options.only or SHAPES:
        pixels = np.random.default_rng(7).integers(0, 256, SHAPES[size])
        array = (pixels / 255).astype(np.float32)
        cases += [Case(size, content_type, write(array)) for content_type, write in FORMS.items()]
    with contextlib.ExitStack() as running:
        directory = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="tfsd-")))
        version = directory / "model" / "rows" / "1"
        version.mkdir(parents=True)
        (version / "saved_model.pb").touch()
        environ = {"SAGEMAKER_TFS_BINARY": str(STUB)}
        stack = running.enter_context(RunningStack(directory / "stack", directory / "model", environ))
        client = Client(stack)
        for _ in range(20):  # each worker imports what it needs
            client.post(Case("", NPY, as_npy(np.zeros((1, 1), np.float32))))
        client.begin()
        for case in sorted(cases, key=lambda case: (case.content_type != NPY, len(case.body))):
            client.growth(case)
        for _ in range(options.rounds):
            for case in cases:
                client.measure(case, options.seconds)
    report(cases)


def report(cases: list[Case]) -> None:
    print(f"{'':10}{'content type':22}{'body MB':>8}{'nginx':>8}{'CPU ms':>9}{'of JSON':>9}{'memory':>8}")
    for case in cases:
        median = statistics.median(case.cpu)
        json = statistics.median(next(other.cpu for other in cases if other.size == case.size))
        print(
            f"{case.size:10}{case.content_type:22}{len(case.body) / 1e6:8.1f}{statistics.median(case.nginx):8.1f}"
            f"{median:9.1f}   1/{json / median:<5.1f}{max(case.memory):7.1f}"
        )


if __name__ == "__main__":
    main()
