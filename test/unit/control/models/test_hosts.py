"""Models that share a model server: loads and unloads by the rules of tensorflow_model_server."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gevent
import pytest

from tfsd.control.ends import End
from tfsd.control.health.model_status import NoStatusError, VersionStatus
from tfsd.control.models.hosts import Host, Hosts
from tfsd.control.models.reload import Hangs, LoadRefused, NotAnswering
from tfsd.plan import Model, ModelServer
from tfsd.run_dir import RunDir
from tfsd.settings import Settings
from tfsd.stack import ports

SERVER = ModelServer("models-0", 1, 2)
UNUSED: Any = None


class ModelServerStub:
    """What is configured, and the states of all versions there ever were; `slow` polls pass before one has ended."""

    def __init__(self) -> None:
        self.configured: dict[str, Model] = {}
        self.statuses: dict[str, dict[str, VersionStatus]] = {}
        self.errors: dict[tuple[str, int], str] = {}
        self.slow = 0
        self.ending: dict[str, int] = {}
        self.hangs = False
        self.port_taken = False

    def reload(self, server: ModelServer, models: Sequence[Model], timeout: float) -> None:
        if self.hangs:
            raise Hangs("no answer")
        if self.port_taken:
            raise NotAnswering("connection refused")
        wanted = {model.name: model for model in models}
        for name in self.configured.keys() - wanted.keys():
            self.ending[name] = self.slow
        for name in wanted.keys() - self.configured.keys():
            if name in self.ending:
                raise LoadRefused("1 servable(s) did not become available")
            known = self.statuses.setdefault(name, {})
            for version in wanted[name].versions:
                error = self.errors.get((name, version), "")
                state = "END" if error else "AVAILABLE"
                known[str(version)] = VersionStatus(str(version), state, error)
            if not any(known[str(version)].state == "AVAILABLE" for version in wanted[name].versions):
                raise LoadRefused("1 servable(s) did not become available")
        self.configured = wanted

    def poll(self, model: str, server: ModelServer | None, timeout: float) -> tuple[VersionStatus, ...]:
        if self.port_taken:
            raise NoStatusError("connection refused")
        if model in self.ending:
            self.ending[model] -= 1
            if self.ending[model] < 0:
                del self.ending[model]
                ended = {v: VersionStatus(v, "END", s.error) for v, s in self.statuses[model].items()}
                self.statuses[model] = ended
        if model not in self.statuses:
            raise NoStatusError("404: Could not find any versions of model", 404)
        return tuple(self.statuses[model].values())


class ProgramsStub:
    def __init__(self, server: ModelServerStub) -> None:
        self.server = server
        self.killed: list[str] = []
        self.renewed: list[str] = []
        self.ends: dict[str, End] = {}

    def add(self, name: str, sections: str, groups: Sequence[str]) -> None:
        assert "--file_system_poll_wait_seconds=1" in sections

    def renew(self, name: str, sections: str, group: str) -> None:
        """The process has other ports now, and none of them is taken."""
        assert f":{group}]" in sections
        self.renewed.append(group)
        self.server.port_taken = False

    def remove(self, name: str, groups: Sequence[str], programs: Sequence[str]) -> None:
        """Their processes end."""

    def kill(self, program: str) -> None:
        """The process that comes in its place reads the file, which has all models but the one that goes."""
        self.killed.append(program)
        self.server.hangs = False
        self.server.statuses = {"a": self.server.statuses["a"]}

    def end_of(self, program: str) -> End | None:
        return self.ends.get(program)

    def forget_end(self, program: str) -> None:
        self.ends.pop(program, None)


class Shared:
    """A host of several models that serves one, `a`."""

    def __init__(self, run_dir: RunDir) -> None:
        run_dir.make(multi_model=True)
        environ = {
            "SAGEMAKER_MULTI_MODEL": "true",
            "SAGEMAKER_TFS_MODELS_PER_PROCESS": "5",
            "SAGEMAKER_MODEL_SERVER_TIMEOUT": "20",
        }
        self.settings = Settings.from_environ(environ, cpus=1)
        self.server = ModelServerStub()
        self.programs = ProgramsStub(self.server)
        self.run_dir = run_dir
        self.hosts = self.restarted()
        host = self.hosts.claim("a")
        model = Model("a", "/a", (1,), host.servers)
        self.server.reload(SERVER, [model], 1)
        self.hosts.load(host, model)

    def restarted(self) -> Hosts:
        """The hosts of a control that knows none yet."""
        return Hosts(
            self.settings,
            self.run_dir,
            ["model_server"],
            (),
            self.programs,  # type: ignore[arg-type]
            self.server.reload,
            self.server.poll,
        )

    def load(self, name: str, *versions: int) -> Model:
        host = self.hosts.claim(name)
        model = Model(name, f"/{name}", versions, host.servers)
        with gevent.Timeout(20):
            try:
                self.hosts.load(host, model)
            except BaseException:
                self.hosts.remove(model)
                raise
        return model


@pytest.fixture
def shared(short_dir: Path) -> Shared:
    return Shared(RunDir(short_dir))


def test_an_unload_waits_for_the_end_so_that_the_next_load_succeeds(shared: Shared) -> None:
    shared.server.slow = 3
    model = shared.load("b", 1)
    shared.hosts.remove(model)
    assert shared.server.ending == {}
    shared.load("b", 1)
    assert set(shared.server.configured) == {"a", "b"}


def test_a_name_that_once_had_a_bad_version_can_be_loaded_again(shared: Shared) -> None:
    shared.server.errors["b", 1] = "DATA_LOSS: broken"
    with pytest.raises(LoadRefused):
        shared.load("b", 1)
    shared.load("b", 2)
    assert [status.version for status in shared.server.poll("b", None, 1)] == ["1", "2"]


def test_a_bad_version_beside_a_good_one_is_a_refusal_with_its_reason(shared: Shared) -> None:
    shared.server.errors["b", 2] = "DATA_LOSS: broken"
    with pytest.raises(LoadRefused, match="version 2: DATA_LOSS: broken"):
        shared.load("b", 1, 2)


def test_a_model_that_a_killed_control_left_half_loaded_or_half_gone_is_in_the_file_no_more(
    shared: Shared,
) -> None:
    """A model server that is restarted serves what its file says."""
    model = shared.load("b", 1)
    after = shared.restarted()
    after.adopt([Model("a", "/a", (1,), model.servers)], served=True)
    after.adopt([model], served=False)
    after.remove(model)
    text = shared.run_dir.models_conf("models-0").read_text()
    assert ('name: "a"' in text, 'name: "b"' in text) == (True, False)
    assert set(shared.server.configured) == {"a"}


def test_a_model_server_that_hangs_in_an_unload_is_restarted(shared: Shared) -> None:
    model = shared.load("b", 1)
    shared.server.hangs = True
    shared.hosts.remove(model)
    assert shared.programs.killed == ["models-0"]


def test_one_that_several_models_share_has_a_socket_beside_its_port_which_goes_with_it(
    shared: Shared,
) -> None:
    [host] = shared.hosts._hosts.values()
    [server] = host.servers
    assert (server.grpc_port != 0, server.grpc_socket) == (True, str(shared.run_dir.grpc_socket("models-0")))
    # closing it leaves the file, as a process that is killed does
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(server.grpc_socket)
    second = shared.load("b", 1)
    shared.hosts.remove(second)
    assert Path(server.grpc_socket).exists()
    shared.hosts.remove(host.models["a"])
    assert [*shared.run_dir.sockets.iterdir()] == []


class TestMoves:
    """supervisord starts no model server whose port another process has."""

    def move(self, shared: Shared, host: Host) -> ModelServer:
        """The ports that the host's server gets while somebody loads a model there."""
        planned: list[ModelServer] = []
        gevent.spawn(shared.hosts.move, host.name, planned.append).join(5)
        with gevent.Timeout(20):
            while not planned:
                gevent.sleep(0.01)
        assert host.servers == (planned[-1],)
        return planned[-1]

    def test_a_load_that_waits_for_it_does_not_delay_a_move(self, shared: Shared) -> None:
        shared.server.port_taken = True
        loading = gevent.spawn(shared.load, "b", 1)
        [host] = shared.hosts._hosts.values()
        before = host.servers[0]
        gevent.sleep(0)
        assert host.lock.locked()
        assert self.move(shared, host) != before
        loading.get(timeout=20)
        assert set(shared.server.configured) == {"a", "b"}

    def test_a_port_that_is_lost_before_the_first_start(self, shared: Shared) -> None:
        shared.server.port_taken = True
        host = shared.hosts._new("b", coded=True)
        shared.hosts._hosts[host.name] = host
        model = Model("b", "/b", (1,), host.servers)
        loading = gevent.spawn(shared.hosts.load, host, model)
        gevent.sleep(0)
        self.move(shared, host)
        shared.server.reload(host.servers[0], [model], 1)  # as its configuration file says
        loading.get(timeout=20)
        assert shared.programs.renewed == [host.name]


class TestSlots:
    """Which ports the servers of a new host get."""

    def hosts(self, slots: Sequence[tuple[int, ...]], **environ: str) -> Hosts:
        environ = {"SAGEMAKER_MULTI_MODEL": "true", **environ}
        settings = Settings.from_environ(environ, cpus=1)
        return Hosts(settings, RunDir(Path("/run/x")), ["server"], (), UNUSED, UNUSED, UNUSED, slots)

    def rest_ports(self, host: Host) -> tuple[int, ...]:
        return tuple(server.rest_port for server in host.servers)

    def test_each_gets_one_as_long_as_there_are_any(self) -> None:
        slots = [(port,) for port in ports.allocate(2)]
        hosts = self.hosts(slots)
        coded = hosts.claim("coded")
        found = [self.rest_ports(hosts.claim(name, coded=False)) for name in "abc"]
        assert sorted(found[:2]) == sorted(slots)
        assert not {found[2], self.rest_ports(coded)} & {*slots}

    def test_one_that_was_given_up_last_is_taken_last(self) -> None:
        slots = [(port,) for port in ports.allocate(3)]
        hosts = self.hosts(slots)
        first = hosts.claim("a", coded=False)
        hosts._hosts.pop(first.name)
        found = [self.rest_ports(hosts.claim(name, coded=False)) for name in "bcd"]
        assert found.index(self.rest_ports(first)) == 2

    def test_one_with_a_port_that_somebody_listens_on_is_left_out(self) -> None:
        first, second = ports.allocate(4)[::2], ports.allocate(2)
        with socket.create_server(("127.0.0.1", first[1])):
            hosts = self.hosts([tuple(first), tuple(second)], SAGEMAKER_TFS_INSTANCE_COUNT="2")
            assert self.rest_ports(hosts.claim("a", coded=False)) == tuple(second)

    def test_models_that_share_servers_have_a_slot_whatever_the_first_one_is(self) -> None:
        [port] = ports.allocate(1)
        assert self.rest_ports(self.hosts([(port,)], SAGEMAKER_TFS_MODELS_PER_PROCESS="2").claim("a")) == (
            port,
        )

    def test_a_small_range_serves_all_that_it_did_without_slots(self) -> None:
        low = next(low for low in range(21_000, 29_000, 4) if all(map(ports.is_free, range(low, low + 4))))
        hosts = self.hosts([(low + 2,), (low + 3,)], SAGEMAKER_SAFE_PORT_RANGE=f"{low}-{low + 3}")
        used = [hosts.claim(name).ports for name in "ab"]  # with code
        assert set().union(*used) == {*range(low, low + 4)}
        with pytest.raises(ports.PortError):
            hosts.claim("c", coded=False)
