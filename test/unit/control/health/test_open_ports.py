"""Model servers that can be reached from outside are warned of, once."""

from __future__ import annotations

import socket

import pytest

from tfsd.control.health.health import Health
from tfsd.control.health.heartbeat_ages import Heartbeats
from tfsd.control.health.model_status import VersionStatus
from tfsd.control.health.open_ports import OpenPorts
from tfsd.plan import Model, ModelServer, Plan


def look(address: str) -> OpenPorts:
    """Looks twice at a model server whose gRPC port listens on `address`."""
    health = Health(Heartbeats(1, 1), lambda: 0.0, needs_models=True, busy_limit=1, load_timeout=1)
    with socket.create_server((address, 0)) as listener:
        server = ModelServer("model-m", 1, listener.getsockname()[1])
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


def test_loopback_is_as_it_should_be(caplog: pytest.LogCaptureFixture) -> None:
    look("127.0.0.1")
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
