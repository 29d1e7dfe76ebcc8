"""The model server processes of a multi-model endpoint, and which models each of them serves.

A host is what runs one set of models: a model server process, or SAGEMAKER_TFS_INSTANCE_COUNT of them with the same
models. Owns the choice of a host for a model, the hosts' configuration files and their life. It knows nothing of
user code, of memory or of who asks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import gevent
from gevent.lock import BoundedSemaphore

from tfsd.control.ends import End
from tfsd.control.health.model_status import AVAILABLE, END, NoStatusError, VersionStatus
from tfsd.control.models.programs import Programs
from tfsd.control.models.reload import Hangs, LoadRefused, NotAnswering
from tfsd.plan import Model, ModelServer
from tfsd.run_dir import RunDir, replace
from tfsd.settings import Settings
from tfsd.stack import multi_model, ports
from tfsd.stack.design import program_names, with_grpc_socket

POLL_SECONDS = 0.1
STATUS_SECONDS = 5.0
SHARED = "models"  # hosts of several models are called models-0, models-1, …
BUSY_PATIENCE_SECONDS = 10.0  # about as long as a new host takes to start
SHRINK_SECONDS = 10.0  # of a reload that loads nothing, and needs milliseconds

Reload = Callable[[ModelServer, Sequence[Model], float], None]
Poll = Callable[[str, ModelServer, float], tuple[VersionStatus, ...]]
PlanIt = Callable[[ModelServer], None]

log = logging.getLogger(__name__)


class HostDied(Exception):
    """A model server ended while it loaded a model."""

    def __init__(self, program: str, end: End) -> None:
        super().__init__(f"{program} {end.described()}")
        self.end = end


@dataclasses.dataclass
class Host:
    """`members` are the names of all models that have a place here, `models` those that are served.

    `moves` are the programs that need other ports while who holds the lock waits for them, with who plans the new ones.
    """

    servers: tuple[ModelServer, ...]
    members: set[str] = dataclasses.field(default_factory=set)
    models: dict[str, Model] = dataclasses.field(default_factory=dict)
    started: bool = False
    lock: BoundedSemaphore = dataclasses.field(default_factory=BoundedSemaphore)
    moves: dict[str, PlanIt] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.servers[0].program

    @property
    def programs(self) -> list[str]:
        return [server.program for server in self.servers]

    def server(self, program: str) -> ModelServer:
        """The program's server, with the ports that it has now."""
        [server] = [server for server in self.servers if server.program == program]
        return server

    @property
    def ports(self) -> set[int]:
        return set().union(*(server.ports for server in self.servers))


class Hosts:
    """All hosts. `command` runs a model server.

    `reload` has one serve other models within some seconds, or raises LoadRefused, NotAnswering, Hangs; `poll` asks
    one for the states of a model's versions. `slots` are the REST ports of hosts that nginx reaches (`stack.slots`).
    """

    def __init__(
        self,
        settings: Settings,
        run_dir: RunDir,
        command: Sequence[str],
        gpus: Sequence[str],
        programs: Programs,
        reload: Reload,
        poll: Poll,
        slots: Sequence[tuple[int, ...]] = (),
    ) -> None:
        self._poll = poll
        self._slots = deque(slots)
        self._settings = settings
        self._run_dir = run_dir
        self._command = command
        self._gpus = gpus
        self._programs = programs
        self._reload = reload
        self._hosts: dict[str, Host] = {}

    def adopt(self, models: Iterable[Model], *, served: bool) -> None:
        """Take in the hosts of models that an earlier control had loaded (`served`) or begun to load."""
        for model in models:
            host = self._hosts.setdefault(model.servers[0].program, Host(model.servers, started=True))
            host.members.add(model.name)
            if served:
                host.models[model.name] = model

    def needs_new(self) -> bool:
        """Whether the next model gets a process of its own, as far as can be told now."""
        return self._settings.models_per_process == 1 or not any(map(self._has_room, self._hosts.values()))

    def claim(self, name: str, *, coded: bool = True) -> Host:
        """A place for a model, on a host with room or on a new one that does not run yet.

        `coded`: whether user code comes to the model, which finds its gRPC API at a port.

        A host that is loading another model is waited for as long as it takes to start a new one: model servers
        change their models one after another. Raises PortError.
        """
        end = time.monotonic() + BUSY_PATIENCE_SECONDS
        while self._settings.models_per_process > 1:
            free = [host for host in self._hosts.values() if self._has_room(host)]
            idle = [host for host in free if not host.lock.locked()]
            if idle or not free or time.monotonic() > end:
                if not idle:
                    break
                host = max(idle, key=lambda host: len(host.members))
                host.members.add(name)
                return host
            gevent.sleep(POLL_SECONDS)
        host = self._new(name, coded)
        host.members.add(name)
        self._hosts[host.name] = host
        return host

    def load(self, host: Host, model: Model) -> None:
        """Have a host serve a model that has a place there; returns when all of its versions are AVAILABLE.

        Raises HostDied, LoadRefused, SupervisorError. Whatever is raised, `remove` cleans up.
        """
        with host.lock:
            host.moves.clear()
            models = [*host.models.values(), model]
            for program in host.programs:
                self._programs.forget_end(program)
            if host.started:
                for program in host.programs:
                    self._reload_when_back(host, program, models)
                self._wait(host, model)
                self._write(host, models)  # only now: a model that does not load must not stop a restart
            else:
                self._write(host, models)
                host.started = True
                self._programs.add(host.name, self._sections(host, model), host.programs)
                self._wait(host, model)
            host.models[model.name] = model

    def remove(self, model: Model) -> None:
        """Take a model, served or half loaded, from its host; the last one takes the host with it.

        A model server lets requests in flight finish first. Raises SupervisorError.
        """
        host = self._hosts.get(model.servers[0].program)
        if host is None:
            return
        with host.lock:
            host.models.pop(model.name, None)
            host.members.discard(model.name)
            if host.models:
                # it may be in the file though it is not served: an earlier control was killed meanwhile
                self._write(host, list(host.models.values()))
                for server in host.servers:
                    self._shrink(host, server, model)
                return
            self._programs.remove(host.name, host.programs, host.programs)
            self._run_dir.models_conf(host.name).unlink(missing_ok=True)
            for server in host.servers:
                if server.grpc_socket:  # which a model server may leave behind, and one that was killed does
                    Path(server.grpc_socket).unlink(missing_ok=True)
            host.started = False  # who waits for it starts it anew
            if not host.members:
                self._hosts.pop(host.name, None)

    def put_back(self, program: str) -> None:
        """Have a model server that several models share serve all of its models, should one be missing there.

        What does not succeed is tried again by who asks. A host whose models change just now is left alone.
        """
        for host in self._hosts.values():
            if program in host.programs and host.models and not host.lock.locked():
                with host.lock:
                    self._put_back(host, program)

    def move(self, program: str, plan_it: PlanIt) -> None:
        """Start a model server anew on other ports, of which `plan_it` is told before.

        A load that waits for it does so in its own time. Raises PortError, SupervisorError.
        """
        for host in self._hosts.values():
            if program in host.programs:
                host.moves[program] = plan_it
                if host.models and not host.lock.locked():
                    with host.lock:
                        self._make_moves(host, next(iter(host.models.values())))

    def _make_moves(self, host: Host, model: Model) -> None:
        """Move what must; `model` is one of the host's, or the first that it loads."""
        while host.moves:
            program, plan_it = host.moves.popitem()
            grpc_port, rest_port = self._free_ports(2)
            moved = host.server(program).moved(grpc_port, rest_port)
            host.servers = tuple(moved if server.program == program else server for server in host.servers)
            plan_it(moved)
            self._programs.renew(host.name, self._sections(host, model), program)

    def _sections(self, host: Host, model: Model) -> str:
        """supervisord's sections for a host that serves the model, perhaps among others."""
        only = model if self._settings.models_per_process == 1 else None
        return multi_model.server_programs(
            self._settings, self._run_dir, self._command, host.servers, self._gpus, only
        )

    def _put_back(self, host: Host, program: str) -> None:
        try:
            self._reload(host.server(program), list(host.models.values()), self._settings.load_timeout)
        except (LoadRefused, NotAnswering, Hangs) as error:
            log.error("%s does not take its models back: %s.", program, error)

    def _shrink(self, host: Host, server: ModelServer, gone: Model) -> None:
        """Have a model server let go of a model, and wait until it has: it mixes up a load that comes too early.

        One that does not answer is restarting, and reads the new file when it is back. One that hangs is made to.
        """
        try:
            self._reload(server, list(host.models.values()), SHRINK_SECONDS)
        except (LoadRefused, NotAnswering) as error:
            log.warning("%s did not take its list of models: %s.", server.program, error)
        except Hangs as error:
            log.error("%s hangs (%s); killing it for supervisord to restart.", server.program, error)
            self._programs.kill(server.program)
        limit = self._settings.request_timeout
        with gevent.Timeout(limit, False):
            while not self._has_let_go(server, gone):
                gevent.sleep(POLL_SECONDS)
            return
        log.warning("%s still holds model %s after %g s.", server.program, gone.name, limit)

    def _has_let_go(self, server: ModelServer, model: Model) -> bool:
        try:
            statuses = self._poll(model.name, server, STATUS_SECONDS)
        except NoStatusError as error:
            return error.status == 404
        return all(status.state == END for status in statuses)

    def _reload_when_back(self, host: Host, program: str, models: Sequence[Model]) -> None:
        """Raises HostDied when it was this that the model server ended of, LoadRefused."""
        while True:
            try:
                return self._reload(host.server(program), models, self._settings.load_timeout)
            except NotAnswering:
                self._raise_if_died(host)
                self._make_moves(host, models[-1])
                gevent.sleep(POLL_SECONDS)

    def _wait(self, host: Host, model: Model) -> None:
        waiting = host.programs
        while waiting:
            if self._serves(host.server(waiting[0]), model):
                waiting.pop(0)
                continue
            self._raise_if_died(host)
            self._make_moves(host, model)
            gevent.sleep(POLL_SECONDS)

    def _raise_if_died(self, host: Host) -> None:
        for program in host.programs:
            end = self._programs.end_of(program)
            if end is not None:
                raise HostDied(program, end)

    def _serves(self, server: ModelServer, model: Model) -> bool:
        """Raises LoadRefused when a version cannot be loaded.

        Versions that an earlier model of this name had stay listed for ever, with their errors.
        """
        try:
            statuses = self._poll(model.name, server, STATUS_SECONDS)
        except NoStatusError:
            return False
        wanted = {str(version) for version in model.versions}
        own = {status.version: status for status in statuses if status.version in wanted}
        for status in own.values():
            if status.error and status.state != AVAILABLE:
                raise LoadRefused(f"version {status.version}: {status.error}")
        return own.keys() == wanted and all(status.state == AVAILABLE for status in own.values())

    def _has_room(self, host: Host) -> bool:
        return len(host.members) < self._settings.models_per_process

    def _new(self, name: str, coded: bool) -> Host:
        count = self._settings.instance_count
        alone = self._settings.models_per_process == 1
        slot = None if coded and alone else self._free_slot()
        numbers = iter(self._free_ports(2 * count if slot is None else count, slot or ()))
        rest_ports = slot or tuple(next(numbers) for _ in range(count))
        if alone:
            programs = program_names("model", name, count)
        else:
            used = {host.name for host in self._hosts.values()}
            number = 0
            while (programs := program_names(SHARED, str(number), count))[0] in used:
                number += 1
        servers = [
            ModelServer(program, port, next(numbers))
            for program, port in zip(programs, rest_ports, strict=True)
        ]
        no_port = self._settings.grpc_sockets and not coded and alone
        return Host(tuple(with_grpc_socket(self._run_dir, server, no_port=no_port) for server in servers))

    def _free_slot(self) -> tuple[int, ...] | None:
        """The REST ports of a slot that nobody has, the one that was last given up a long time ago; or None."""
        taken = self._taken_ports()
        for _ in range(len(self._slots)):
            self._slots.rotate(-1)
            slot = self._slots[-1]
            if taken.isdisjoint(slot) and all(map(ports.is_free, slot)):
                return slot
        return None

    def _free_ports(self, count: int, chosen: Sequence[int] = ()) -> list[int]:
        """Other ports than those that were just chosen; a slot's only when there are no more. Raises PortError."""
        taken, allowed = self._taken_ports() | {*chosen}, self._settings.safe_port_range
        with contextlib.suppress(ports.PortError):
            return ports.allocate(count, allowed, taken.union(*self._slots))
        return ports.allocate(count, allowed, taken)

    def _taken_ports(self) -> set[int]:
        return {self._settings.port}.union(*(host.ports for host in self._hosts.values()))

    def _write(self, host: Host, models: Sequence[Model]) -> None:
        """What stands in the file already needs no room on the disk."""
        path, text = self._run_dir.models_conf(host.name), multi_model.models_text(models)
        with contextlib.suppress(FileNotFoundError):
            if path.read_text() == text:
                return
        replace(path, text)
