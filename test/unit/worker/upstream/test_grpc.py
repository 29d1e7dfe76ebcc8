"""Channels, gRPC under gevent, and failed calls, without a model server. See also the integration tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from tfsd.plan import Model, ModelServer
from tfsd.worker.replies import from_exception
from tfsd.worker.upstream.client import ModelServers

DAEMON = Path(__file__).parents[4] / "daemon"
UNUSED = """
from tfsd.worker import __main__
from tfsd.worker.upstream import grpc_gevent
from tfsd.protos import packages
packages.install(); grpc_gevent.install()
import sys
print([name for name in ("grpc", "google.protobuf", "numpy", "tensorflow", "boto3", "requests") if name in sys.modules])
"""
COOPERATIVE = """
from gevent import monkey; monkey.patch_all()
import gevent, socket, time
from tfsd.worker.upstream import grpc_gevent
grpc_gevent.install()
silent = socket.create_server(("127.0.0.1", 0))
import grpc
ticks = []
ticking = gevent.spawn(lambda: [(ticks.append(1), gevent.sleep(0.01)) for _ in range(1000)])
channel = grpc.insecure_channel("127.0.0.1:%d" % silent.getsockname()[1])
try:
    channel.unary_unary("/service/method")(b"", timeout=1)
except grpc.RpcError as error:
    print(error.code().name, len(ticks) > 10)
"""


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(DAEMON)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Failed(grpc.RpcError, grpc.Call):
    """What a stub raises."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self._code, self._details = code, details

    def code(self) -> Any:
        return self._code

    def details(self) -> str:
        return self._details

    def unused(self, *_: Any) -> None:
        raise NotImplementedError

    initial_metadata = trailing_metadata = is_active = time_remaining = cancel = add_callback = unused


def test_a_worker_loads_only_what_its_code_needs() -> None:
    assert run(UNUSED) == "[]"


def test_any_grpc_is_cooperative() -> None:
    code, ticked = run(COOPERATIVE).split()
    assert code in ("DEADLINE_EXCEEDED", "UNAVAILABLE")
    assert ticked == "True"


def test_a_model_has_one_channel() -> None:
    models = {
        name: Model(name, "/models", (1,), (ModelServer("m", number, number + 1),))
        for number, name in ((8501, "a"), (8601, "b"))
    }
    servers = ModelServers(models)
    first = servers.of_model("a").channel
    assert isinstance(first, grpc.Channel)
    assert servers.of_model("a").channel is first
    assert servers.of_model("b").channel is not first


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 400),
        (grpc.StatusCode.NOT_FOUND, 404),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
        (grpc.StatusCode.UNKNOWN, 500),
    ],
)
def test_a_failed_call_is_an_http_error(code: Any, status: int) -> None:
    reply = from_exception(Failed(code, "what went wrong"))
    assert isinstance(reply.body, bytes)
    assert (reply.status, json.loads(reply.body)) == (status, {"error": "what went wrong"})
    assert ("Retry-After" in dict(reply.headers)) == (status == 503)
    unexplained = from_exception(Failed(code, "")).body
    assert isinstance(unexplained, bytes)
    assert code.name in json.loads(unexplained)["error"]


def test_another_rpc_error_is_just_an_exception() -> None:
    assert from_exception(grpc.FutureTimeoutError("late")).status == 500
    assert from_exception(grpc.RpcError("odd")).status == 500
