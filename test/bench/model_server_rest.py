#!/usr/bin/env python
"""What the embedded model server costs over REST: CPU time per request, memory, start-up, batching.

usage: python test/bench/model_server_rest.py [--seconds 60]

Starts servers of its own on free ports with models of its own making and prints one table. CPU time is
utime + stime of the server's process, divided by the requests that it answered; memory is its RSS. Load comes
from wrk where it is installed, else from threads of this process.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMALL = b'{"instances":[1.0,2.0,5.0]}'
ONE_ROW = b'{"instances": [1.0]}'  # so that a batch of 64 takes 64 requests
LARGE_ROWS, LARGE_COLUMNS = 6000, 100
CLIENTS = 64
SESSION_SECONDS = 0.002
START_SECONDS = 120
BATCHING = "max_batch_size { value: 64 } batch_timeout_micros { value: 10000 } num_batch_threads { value: 2 }"


@dataclass
class Server:
    """A running model server."""

    process: subprocess.Popen[bytes]
    port: int
    started_in: float

    def cpu(self) -> float:
        """CPU seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """RSS in MB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def server(model: Path, *flags: str) -> Iterator[Server]:
    """Start a server of one model, `bench`, and wait for its first answer."""
    rest_port, port = free_port(), free_port()
    command = [sys.executable, "-m", "tfsd.model_server", f"--port={port}", f"--rest_api_port={rest_port}"]
    started = time.monotonic()
    process = subprocess.Popen(
        [*command, "--model_name=bench", f"--model_base_path={model}", *flags],
        env=os.environ | {"PYTHONPATH": str(ROOT / "daemon")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            with contextlib.suppress(OSError):
                if post(rest_port, SMALL)[0] == 200:
                    break
            if process.poll() is not None or time.monotonic() - started > START_SECONDS:
                raise SystemExit(f"The model server did not start: {process.args!r}")
            time.sleep(0.02)
        yield Server(process, rest_port, time.monotonic() - started)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def post(port: int, body: bytes, connection: http.client.HTTPConnection | None = None) -> tuple[int, bytes]:
    connection = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/v1/models/bench:predict", body)
    response = connection.getresponse()
    return response.status, response.read()


def load(port: int, seconds: float, clients: int = CLIENTS, body: bytes = SMALL) -> tuple[int, int]:
    """Send small requests for so long; returns the answers and how many were errors."""
    if shutil.which("wrk") is None:
        return load_from_threads(port, seconds, clients, body)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f"wrk.method='POST'\nwrk.body='{body.decode()}'\n")
        script.flush()
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:g}s", "-s", script.name]
        url = f"http://127.0.0.1:{port}/v1/models/bench:predict"
        output = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    found = re.search(r"(\d+) requests in", output)
    assert found, output
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    errors = int(failed[1]) if failed else 0
    return int(found[1]), errors + (sum(map(int, broken.groups())) if broken else 0)


def load_from_threads(port: int, seconds: float, clients: int, body: bytes) -> tuple[int, int]:
    """The same without wrk: each client is a thread with a kept-alive connection."""
    counts = [0, 0]
    lock = threading.Lock()
    end = time.monotonic() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        answers = errors = 0
        while time.monotonic() < end:
            try:
                errors += post(port, body, connection)[0] != 200
            except OSError:
                errors += 1
            answers += 1
        with lock:
            counts[0] += answers
            counts[1] += errors

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts[0], counts[1]


def large_body() -> bytes:
    """600,000 floats, about 5.4 MB."""
    row = (",".join(f"{random.random() * 1000:.5f}" for _ in range(LARGE_COLUMNS)) for _ in range(LARGE_ROWS))
    return b'{"instances":[[' + "],[".join(row).encode() + b"]]}"


def build_models(directory: Path) -> None:
    """`half_plus_two`, and `slow`, whose Session call computes for `SESSION_SECONDS`. Needs TensorFlow."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    def save(name: str, function: object) -> None:
        module = tf.Module()
        spec = [tf.TensorSpec(None, tf.float32, "x")]
        module.serve = tf.function(function, input_signature=spec)
        signatures = {"serving_default": module.serve.get_concrete_function()}
        tf.saved_model.save(module, str(directory / name / "1"), signatures=signatures)

    def busy(steps: int) -> object:
        def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
            square = tf.fill([128, 128], 1e-3 + 0.0 * tf.reduce_sum(x))
            for _ in range(steps):
                square = tf.linalg.matmul(square, square)
            return {"y": 0.5 * x + 2.0 + 0.0 * square[0, 0]}

        return call

    one = 100
    timed = tf.function(busy(one), input_signature=[tf.TensorSpec(None, tf.float32)])
    timed(tf.ones([3]))
    started = time.process_time()
    for _ in range(20):
        timed(tf.ones([3]))
    steps = max(1, round(one * SESSION_SECONDS * 20 / (time.process_time() - started)))
    save("half_plus_two", lambda x: {"y": 0.5 * x + 2.0})
    save("slow", busy(steps))


def measure(models: Path, seconds: float) -> list[tuple[str, str]]:
    """The rows of the table."""
    rows: list[tuple[str, str]] = []
    with server(models / "half_plus_two") as one:
        rows.append(("start-up to first answer", f"{one.started_in:.1f} s"))
        load(one.port, min(seconds, 3))
        for clients in (1, CLIENTS):
            before = one.cpu()
            answers, _ = load(one.port, min(seconds, 5), clients)
            micros = (one.cpu() - before) / answers * 1e6
            rows.append((f"CPU per small request, {clients} clients", f"{micros:.0f} µs"))
        body = large_body()
        connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=60)
        post(one.port, body, connection)
        before, times = one.cpu(), 10
        for _ in range(times):
            status, answer = post(one.port, body, connection)
            assert status == 200, answer[:200]
        millis = (one.cpu() - before) / times * 1e3
        sizes = f"{len(body) / 1e6:.1f} MB in, {len(answer) / 1e6:.1f} MB out"
        rows.append((f"CPU per 600,000 floats ({sizes})", f"{millis:.0f} ms"))
        load(one.port, min(seconds, 5))
        warm = one.memory()
        answers, errors = load(one.port, seconds)
        rows.append((f"{CLIENTS} clients for {seconds:g} s", f"{answers} answers, {errors} errors"))
        rows.append(("memory after warm-up, at the end", f"{warm:.0f} MB, {one.memory():.0f} MB"))
    rows += measure_batching(models, min(seconds, 10))
    return rows


def measure_batching(models: Path, seconds: float) -> list[tuple[str, str]]:
    """The rate of small requests with and without batching."""
    single = f"--rest_api_num_threads={CLIENTS}", "--tensorflow_intra_op_parallelism=1"
    parameters = models / "batching.conf"
    parameters.write_text(BATCHING)
    rates, micros = [], []
    for flags in ((), ("--enable_batching", f"--batching_parameters_file={parameters}")):
        with server(models / "slow", *single, *flags) as one:
            load(one.port, min(seconds, 2), body=ONE_ROW)
            before = one.cpu()
            answers, errors = load(one.port, seconds, body=ONE_ROW)
            assert not errors, f"{errors} errors"
            rates.append(answers / seconds)
            micros.append((one.cpu() - before) / answers * 1e6)
    return [
        ("2 ms model, without batching", f"{rates[0]:.0f}/s, {micros[0]:.0f} µs of CPU each"),
        (
            "2 ms model, with batching",
            f"{rates[1]:.0f}/s, {rates[1] / rates[0]:.1f} times, {micros[1]:.0f} µs of CPU each",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long the 64 clients load the server")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        models = Path(directory)
        build_models(models)
        for name, value in measure(models, arguments.seconds):
            print(f"{name:58} {value}")


if __name__ == "__main__":
    main()
