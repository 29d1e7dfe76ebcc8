from __future__ import annotations

import os
import socket
from types import SimpleNamespace

import pytest
from supervisor.datatypes import InetStreamSocketConfig
from supervisor.states import SupervisorStates

from tfsd.stack.supervisord import LastingSocketManager, PromptSupervisor


class Waiting(Exception):
    """supervisor waits for something to happen."""


def test_programs_are_started_before_anything_is_waited_for() -> None:
    class Poller:
        def poll(self, timeout: float) -> None:
            raise Waiting

    started: list[str] = []

    class Group:
        def __init__(self, name: str) -> None:
            self.name = name

        def __lt__(self, other: Group) -> bool:
            return self.name < other.name

        def transition(self) -> None:
            started.append(self.name)

        def get_dispatchers(self) -> dict[int, object]:
            return {}

    options = SimpleNamespace(mood=SupervisorStates.RUNNING, poller=Poller(), get_socket_map=dict)
    supervisor = PromptSupervisor(options)
    supervisor.process_groups = {name: Group(name) for name in ("b", "a")}
    with pytest.raises(Waiting):
        supervisor.runforever()
    assert started == ["a", "b"]


def test_nginx_inherits_the_port_as_a_socket_that_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(LastingSocketManager, "listener", os.dup(listener.fileno()))
        options = SimpleNamespace(mood=SupervisorStates.SHUTDOWN)
        config = InetStreamSocketConfig("127.0.0.1", listener.getsockname()[1])
        manager = LastingSocketManager(options, config)
        inherited = manager.get_socket()
        assert not os.get_blocking(inherited.fileno())
        manager.close()
