"""Model servers that can be reached from outside are warned of, once."""

from __future__ import annotations

import socket

import pytest

from tfsd.control.health.health import Health
from tfsd.control.health.heartbeat_ages import Heartbeats
from tfsd.control.health.model_status import VersionStatus
from tfsd.control.health.open_ports import OpenPorts
from tfsd.plan import Model, ModelServer, Plan


def look(address: str, grpc_socket: str = "", *, grpc_at_a_port: bool = True) -> OpenPorts:
    """Looks twice at a model server one of whose ports listens on `address`: gRPC's, or that of its REST API."""
    health = Health(Heartbeats(1, 1), lambda: 0.0, needs_models=True, busy_limit=1, load_timeout=1)
    with socket.create_server((address, 0)) as listener:
        port = listener.getsockname()[1]
        rest_port, grpc_port = (1, port) if grpc_at_a_port else (port, 0)
        server = ModelServer("model-m", rest_port, grpc_port, grpc_socket)
        health.set_plan(Plan({"m": Model("m", "/", (1,), (server,))}, {}))
        ports = OpenPorts(health)
        ports.processes_seen({})  # nothing is served yet
        health.server_answered("m", "model-m", [VersionStatus("1", "AVAILABLE")])
        ports.processes_seen({})
        ports.processes_seen({})
    return ports


def test_a_port_that_is_open_to_all_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    look("0.0.0.0")
    [record] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "Model servers listen on 0.0.0.0 (model-m: ports 1 and " in record.getMessage()


@pytest.mark.parametrize(
    ("grpc_at_a_port", "harm"), [(True, "any model loaded"), (False, "predictions past")]
)
def test_what_can_be_done_there_depends_on_whether_grpc_has_a_port(
    caplog: pytest.LogCaptureFixture, grpc_at_a_port: bool, harm: str
) -> None:
    look("0.0.0.0", "/run/m.sock", grpc_at_a_port=grpc_at_a_port)
    [record] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert harm in record.getMessage()


def test_loopback_is_as_it_should_be(caplog: pytest.LogCaptureFixture) -> None:
    look("127.0.0.1")
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
