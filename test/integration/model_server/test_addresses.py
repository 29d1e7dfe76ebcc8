"""Where a model server can be reached: loopback only, unless told otherwise; a socket in place of the gRPC port."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

#: 127.0.0.2 is this machine's too: who listens there listens on more than 127.0.0.1.
ELSEWHERE = "127.0.0.2"


@pytest.fixture
def model(models: Any) -> tuple[str, ...]:
    return ("--model_name=m", f"--model_base_path={models}/half_plus_three")


def can_connect(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 5).close()
    except OSError:
        return False
    return True


def has_ipv6() -> bool:
    """Whether this machine has an IPv6 address for itself."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def state(channel: grpc.Channel) -> int:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "m"
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=30)
    return status.model_version_status[0].state


def test_nobody_else_reaches_the_ports(start_server: Any, model: Any) -> None:
    server = start_server(*model, rest=True)
    for port in (server.port, server.rest_port):
        assert can_connect("127.0.0.1", port)
        assert not can_connect(ELSEWHERE, port)
        assert not can_connect("::1", port)


def test_all_addresses_when_told(start_server: Any, model: Any) -> None:
    server = start_server(*model, "--host=::", rest=True)
    for port in (server.port, server.rest_port):
        assert can_connect("127.0.0.1", port)
        assert can_connect(ELSEWHERE, port)
        assert can_connect("::1", port) or not has_ipv6()


def test_a_socket_in_place_of_the_grpc_port(start_server: Any, model: Any, tmp_path: Path) -> None:
    flags = (*model, "--port=0", f"--grpc_socket_path={tmp_path}/socket")
    server = start_server(*flags, rest=True)
    assert f"Running gRPC ModelServer at unix:{tmp_path}/socket ..." in server.log()
    assert not can_connect("127.0.0.1", server.port)
    assert can_connect("127.0.0.1", server.rest_port)
    available = get_model_status_pb2.ModelVersionStatus.State.AVAILABLE
    assert state(grpc.insecure_channel(f"unix:{tmp_path}/socket")) == available

    server.stop(signal.SIGKILL)  # and leaves the socket behind
    start_server(*flags)
    assert state(grpc.insecure_channel(f"unix:{tmp_path}/socket")) == available


def test_a_socket_that_cannot_be_made_is_refused(start_server: Any, model: Any, tmp_path: Path) -> None:
    server = start_server(*model, f"--grpc_socket_path={tmp_path}/missing/socket", wait=False)
    server.wait_for_log(
        "Failed to start server. Error: INVALID_ARGUMENT: Failed to BuildAndStart gRPC server"
    )
    assert server.stop() == 255
