#!/usr/bin/env python3
"""What a small request costs on each route, and a large CSV: CPU time and rate, all cases interleaved.

    ./bin/local bench bench_routes [--rounds N] [--seconds S]

The model server is a stub (nginx with a fixed answer; for gRPC a small asyncio server, which takes CPU time from
the others), so the figures are what this project adds. "nginx" and "worker" are their CPU time per request in
microseconds (user and system, all processes of the kind); "logs" is that of supervisord and control, which pass
on and count the access log. The rate is of 16 connections on this machine and depends on it. Needs wrk.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import requests

from support.stack import RunningStack
from tfsd.stack import nginx
from tfsd.stack.ports import allocate

ROOT = Path(__file__).resolve().parents[2]
STUB = ROOT / "test" / "support" / "stub_model_server.py"
GRPC_STUB = ROOT / "test" / "support" / "stub_grpc_model_server.py"
GRPC_SCRIPTS = ROOT / "test" / "resources" / "legacy" / "scripts"
HANDLERS = ROOT / "test" / "resources" / "handlers"
CONNECTIONS = 16
TICKS = os.sysconf("SC_CLK_TCK")
SMALL_JSON = '{"instances": [1.0, 2.0, 5.0]}'
PLAIN_PROXY = """
daemon off; pid {directory}/nginx.pid; error_log stderr error; worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log {directory}/access.log combined buffer=32k flush=1s;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
    proxy_http_version 1.1; proxy_set_header Connection ""; keepalive_requests 1000000000;
    upstream stub {{ server 127.0.0.1:{stub}; keepalive 64; }}
    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://stub/v1/models/half_plus_two:predict; }} }}
}}
"""


@dataclasses.dataclass
class Case:
    """One measured way: where requests go, what they are, and whose CPU time counts."""

    name: str
    url: str
    body: str
    content_type: str
    nginx: list[int]
    workers: list[int]
    loggers: list[int] = dataclasses.field(default_factory=list)
    rates: list[float] = dataclasses.field(default_factory=list)
    nginx_us: list[float] = dataclasses.field(default_factory=list)
    worker_us: list[float] = dataclasses.field(default_factory=list)
    logger_us: list[float] = dataclasses.field(default_factory=list)

    def measure(self, seconds: int) -> None:
        before = self._cpu_seconds()
        count, took = load(self, seconds)
        self.rates.append(count / took)
        for figures, earlier, later in zip(
            (self.nginx_us, self.worker_us, self.logger_us), before, self._cpu_seconds(), strict=True
        ):
            figures.append((later - earlier) / count * 1e6)

    def _cpu_seconds(self) -> tuple[float, float, float]:
        return cpu_seconds(self.nginx), cpu_seconds(self.workers), cpu_seconds(self.loggers, children=False)


def cpu_seconds(pids: list[int], children: bool = True) -> float:
    """User and system time of the processes and, if wanted, of their children that live now."""
    total = 0
    for pid in pids:
        others = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if children else []
        for process in (pid, *map(int, others)):
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
    return total / TICKS


def load(case: Case, seconds: int) -> tuple[int, float]:
    """Requests answered with 200 and the seconds they took. Exits when any failed."""
    script = f'wrk.method = "POST"\nwrk.body = [[{case.body}]]\nwrk.headers["Content-Type"] = "{case.content_type}"\n'
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", file.name, case.url]
        started = time.monotonic()
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        took = time.monotonic() - started
    found = re.search(r"(\d+) requests in", text)
    if not found or "Non-2xx" in text or "Socket errors" in text:
        sys.exit(f"{case.name}: requests failed:\n{text}")
    return int(found[1]), took


@contextlib.contextmanager
def plain_proxy(directory: Path, stub: int) -> Iterator[tuple[str, int]]:
    """An nginx that only proxies to the stub: (its url, its process id)."""
    directory.mkdir()
    port = allocate(1)[0]
    configuration = directory / "nginx.conf"
    configuration.write_text(PLAIN_PROXY.format(directory=directory, port=port, stub=stub))
    binary = nginx.find().binary
    process = subprocess.Popen([binary, "-p", str(directory), "-e", "stderr", "-c", str(configuration)])
    try:
        time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/", process.pid
    finally:
        process.terminate()
        process.wait()


def model_dir(directory: Path, handlers: Path | None) -> Path:
    """A directory that looks like a model to the stack; the stub needs no more."""
    version = directory / "half_plus_two" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").touch()
    if handlers:
        (directory / "code").mkdir()
        shutil.copy(handlers, directory / "code" / "inference.py")
    return directory


def cases(stacks: dict[str, RunningStack], proxy: tuple[str, int]) -> list[Case]:
    plain = stacks["no code"]
    stub = plain.plan().models["half_plus_two"].servers[0]
    alone = f"http://127.0.0.1:{stub.rest_port}/v1/models/half_plus_two:predict"
    found = [
        Case(
            "(a) model server stub alone",
            alone,
            SMALL_JSON,
            "application/json",
            [plain.pid(stub.program)],
            [],
        ),
        Case("    plain nginx proxy", proxy[0], SMALL_JSON, "application/json", [proxy[1]], []),
    ]
    json, csv = (SMALL_JSON, "application/json"), ("1.0,2.0,5.0", "text/csv")
    for name, stack, (body, kind) in (
        ("(b) direct route", "no code", json),
        ("(c) input_handler + output_handler", "pair", json),
        ("(d) handler with requests.post", "single", json),
        ("(e) CSV of one line, converter", "no code", csv),
        ("(f) input_fn + default output_fn, gRPC", "legacy", json),
        ("(g) handler with context.channel, gRPC", "grpc", json),
    ):
        running = stacks[stack]
        workers = [
            running.pid(worker.program) for pool in running.plan().pools.values() for worker in pool.workers
        ]
        loggers = [running.process.pid, running.pid("control")] if running.process else []
        found.append(
            Case(name, running.url("/invocations"), body, kind, [running.pid("nginx")], workers, loggers)
        )
    return found


def large_csv(stack: RunningStack, repetitions: int) -> tuple[float, float, float]:
    """A numeric CSV of 10 MB: (MB, CPU seconds of nginx and worker, seconds by the clock), medians."""
    row = ",".join(f"{value * 0.001:.3f}" for value in range(1000, 1100)) + "\n"
    body = (row * (10_000_000 // len(row))).encode()
    processes = [stack.pid("nginx")]
    processes += [
        stack.pid(worker.program) for pool in stack.plan().pools.values() for worker in pool.workers
    ]
    cpu, clock = [], []
    for _ in range(repetitions):
        before, started = cpu_seconds(processes), time.monotonic()
        answer = requests.post(
            stack.url("/invocations"), data=body, headers={"Content-Type": "text/csv"}, timeout=60
        )
        clock.append(time.monotonic() - started)
        cpu.append(cpu_seconds(processes) - before)
        answer.raise_for_status()
    return len(body) / 1e6, statistics.median(cpu), statistics.median(clock)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of load, for each case in each round")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("this benchmark needs wrk (Debian: apt-get install wrk)")
    handlers = {
        "no code": None,
        "pair": HANDLERS / "pair.py",
        "single": HANDLERS / "single.py",
        "legacy": GRPC_SCRIPTS / "legacy_small.py",
        "grpc": GRPC_SCRIPTS / "grpc_small.py",
    }
    with contextlib.ExitStack() as running:
        directory = Path(running.enter_context(tempfile.TemporaryDirectory()))
        stacks = {
            name: running.enter_context(
                RunningStack(
                    directory / f"stack{index}",
                    model_dir(directory / f"model{index}", script),
                    {"SAGEMAKER_TFS_BINARY": str(GRPC_STUB if name in ("legacy", "grpc") else STUB)},
                )
            )
            for index, (name, script) in enumerate(handlers.items())
        }
        stub = stacks["no code"].plan().models["half_plus_two"].servers[0].rest_port
        measured = cases(stacks, running.enter_context(plain_proxy(directory / "proxy", stub)))
        for case in measured:
            load(case, 1)  # warm
        for _ in range(options.rounds):
            for case in measured:
                case.measure(options.seconds)
        csv = large_csv(stacks["no code"], options.rounds)
    report(measured, csv)


def report(measured: list[Case], csv: tuple[float, float, float]) -> None:
    proxy = statistics.median(measured[1].nginx_us)
    print(f"{'':38}{'req/s':>8}{'nginx':>8}{'worker':>8}{'sum':>8}{'logs':>8}  against plain proxying")
    for case in measured:
        nginx_us, worker_us = statistics.median(case.nginx_us), statistics.median(case.worker_us)
        total = nginx_us + worker_us
        print(
            f"{case.name:38}{statistics.median(case.rates):8.0f}{nginx_us:8.0f}{worker_us:8.0f}{total:8.0f}"
            f"{statistics.median(case.logger_us):8.0f}  {total / proxy:.2f}"
        )
    size, cpu, clock = csv
    print(
        f"(e) CSV of {size:.1f} MB: {cpu * 1000:.0f} ms of CPU in nginx and worker, {clock * 1000:.0f} ms by the clock"
    )


if __name__ == "__main__":
    main()
