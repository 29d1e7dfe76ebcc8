"""The rows of the table: what is asked of which server, and whose CPU time counts."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import gevent
import numpy as np
import orjson

from bench.table import servers
from bench.table.figures import Sample
from bench.table.load import Clients, Load, Request, RequestFailed
from bench.table.processes import cpu_seconds
from tfsd.plan import ModelServer
from tfsd.worker.upstream.grpc_channel import Channel

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"
SMALL = servers.SMALL
SIZES = {"100 kB": 100_000, "1 MB": 1_000_000, "10 MB": 10_000_000}
COLUMNS = 1000
HANDLERS = servers.ROOT / "test" / "resources" / "handlers"
GRPC_SCRIPTS = servers.ROOT / "test" / "resources" / "legacy" / "scripts"
PREDICT = "/tensorflow.serving.PredictionService/Predict"

Send = Callable[[int], contextlib.AbstractContextManager[Callable[[float], Load]]]


@dataclasses.dataclass(frozen=True)
class Case:
    """A row.

    Attributes:
        name: as it stands in the table and in the baseline.
        pids: the processes whose CPU time counts.
        send: connects so many clients; what it gives sends for so many seconds.
        plain: the name of the case that it is compared with, itself plain proxying.
        seconds: of load for each measurement, at least.
        clients: how many at a time; None for all that are measured.
    """

    name: str
    pids: Sequence[int]
    send: Send
    plain: str
    seconds: float = 0.0
    clients: tuple[int, ...] | None = None

    def measure(self, clients: int, seconds: float) -> Sample:
        """Raises SystemExit when a request fails."""
        try:
            with self.send(clients) as load:
                before = cpu_seconds(self.pids)
                got = load(max(seconds, self.seconds))
                used = cpu_seconds(self.pids) - before
        except (OSError, RequestFailed) as error:
            raise SystemExit(f"{self.name}, {clients} clients: {error}") from error
        return Sample(used / len(got.latencies), got.rate, got.latencies)


def http(request: Request) -> Send:
    """Clients that send an HTTP request."""

    @contextlib.contextmanager
    def send(clients: int) -> Iterator[Callable[[float], Load]]:
        with Clients(request, clients) as connected:
            yield connected.load

    return send


def grpc(port: int, message: bytes) -> Send:
    """Clients of a gRPC Predict, over the workers' own channel."""

    @contextlib.contextmanager
    def send(clients: int) -> Iterator[Callable[[float], Load]]:
        channel = Channel([ModelServer("bench", 0, port)], calls=clients)
        call = channel.unary_unary(PREDICT)

        def load(seconds: float) -> Load:
            latencies: list[float] = []
            started = time.perf_counter()

            def client() -> None:
                while True:
                    began = time.perf_counter()
                    call(message)
                    now = time.perf_counter()
                    latencies.append(now - began)
                    if now - started >= seconds:
                        return

            gevent.joinall([gevent.spawn(client) for _ in range(clients)], raise_error=True)
            return Load(time.perf_counter() - started, latencies)

        load(0)
        try:
            yield load
        finally:
            channel.close()

    return send


def body(content_type: str, size: int) -> bytes:
    """Rows of numbers of about that many bytes: 8-bit pixels divided by 255, as float32."""
    rows = max(1, size // (COLUMNS * (4 if content_type == NPY else 12)))
    pixels = np.random.default_rng(7).integers(0, 256, (rows, COLUMNS))
    array = (pixels / 255).astype(np.float32)
    if content_type == NPY:
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()
    if content_type == JSON:
        return orjson.dumps({"instances": array}, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] + b"\n" for row in array)


PLAIN = "plain proxying"


@contextlib.contextmanager
def started(directory: Path, others: bool) -> Iterator[list[Case]]:
    """All cases, their servers running; each after the plain one that it is compared with."""
    with contextlib.ExitStack() as running:
        scripts: Mapping[str, Path | None] = {
            "": None,
            "handler pair": HANDLERS / "pair.py",
            "handler with requests.post": HANDLERS / "single.py",
            "gRPC handler (context.channel)": GRPC_SCRIPTS / "grpc_small.py",
            "gRPC handler, 1 MB tensor": servers.BENCH / "grpc_tensor.py",
            "input_fn": GRPC_SCRIPTS / "legacy_small.py",
            "handler of 5 ms": servers.BENCH / "busy.py",
        }
        stacks = {
            name: servers.stack(directory / f"stack{number}", script).start()
            for number, (name, script) in enumerate(scripts.items())
        }
        for stack in stacks.values():
            running.push(stack)
        for stack in stacks.values():
            stack.wait_until_healthy()
        multi = running.enter_context(
            servers.multi_model_stack(directory / "multi", {"none": None, "pair": HANDLERS / "pair.py"})
        )
        ours = stacks.pop("")
        stub = ours.plan().models[servers.MODEL].servers[0].rest_port
        proxy, proxy_pid = running.enter_context(servers.plain_proxy(directory / "proxy", stub))
        front = servers.pids(ours)

        def at(port: int, path: str = "/invocations", body: bytes = SMALL, content_type: str = JSON) -> Send:
            return http(Request(port, path, body, content_type))

        cases = [
            Case(PLAIN, [proxy_pid], at(proxy), PLAIN),
            Case("JSON, no code", front, at(ours.port), PLAIN),
            Case("CSV, one row", front, at(ours.port, body=b"1.0,2.0,5.0", content_type=CSV), PLAIN),
            Case("CSV, 3 rows", front, at(ours.port, body=b"1.0\n2.0\n5.0\n", content_type=CSV), PLAIN),
            Case(
                "JSON lines, 3",
                front,
                at(ours.port, body=b"1.0\n2.0\n5.0\n", content_type="application/jsonlines"),
                PLAIN,
            ),
        ]
        cases += [
            Case(name, servers.pids(stack), at(stack.port), PLAIN)
            for name, stack in stacks.items()
            if stack is not stacks["handler of 5 ms"]
        ]
        behind = servers.pids(multi)
        for name, model in (("multi-model, no code", "none"), ("multi-model, handler pair", "pair")):
            cases.append(Case(name, behind, at(multi.port, f"/models/{model}/invoke"), PLAIN))
        busy = stacks["handler of 5 ms"]
        cases.append(Case("handler of 5 ms", servers.pids(busy), at(busy.port), PLAIN, 1.0, (16,)))
        cases += _model_servers(running)
        if others:
            rest_uri = f"http://127.0.0.1:{stub}/v1/models/{servers.MODEL}:predict"
            port, pid = running.enter_context(servers.granian(rest_uri))
            cases.append(Case("granian, handler with requests.post", [pid], at(port, "/"), PLAIN))
            port, pid = running.enter_context(servers.mosec(rest_uri))
            cases.append(Case("mosec, handler with requests.post", [pid], at(port, "/inference"), PLAIN))
        for label, size in SIZES.items():
            for form, content_type in (("JSON", JSON), ("CSV", CSV), ("npy", NPY)):
                large, plain = body(content_type, size), f"{PLAIN}, {form} {label}"
                cases.append(Case(plain, [proxy_pid], at(proxy, "/", large, content_type), plain))
                cases.append(
                    Case(
                        f"{form} {label}",
                        front,
                        at(ours.port, body=large, content_type=content_type),
                        plain,
                    )
                )
        yield cases


def _model_servers(running: contextlib.ExitStack) -> Iterator[Case]:
    """The model servers by themselves."""
    from tfsd.protos import packages

    packages.install()
    from tensorflow.core.framework import tensor_pb2, types_pb2
    from tensorflow_serving.apis import predict_pb2

    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1.0, 2.0, 5.0])
    tensor.tensor_shape.dim.add(size=3)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = servers.MODEL
    request.inputs["x"].CopyFrom(tensor)
    message = request.SerializeToString()
    commands = {"embedded server": servers.embedded(), "tensorflow_model_server": servers.real()}
    for name, command in commands.items():
        if command is None:
            continue
        rest, port, pid = running.enter_context(servers.model_server(command))
        path = f"/v1/models/{servers.MODEL}:predict"
        yield Case(f"{name} itself, REST", [pid], http(Request(rest, path, SMALL, JSON)), PLAIN)
        yield Case(f"{name} itself, gRPC", [pid], grpc(port, message), PLAIN)
