"""The worker's way to the model servers: kept-alive connections, choice among instances, fail-over.

Predictions are idempotent, so a request whose answer did not arrive is sent again: to the model's other
instance, or to the same one when it is back. Owns the connections; never reads or changes what is sent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

import gevent

from tfsd.errors import HttpError
from tfsd.plan import Model, ModelServer
from tfsd.worker.upstream.connection import Answer, Connection, CutOff, Refused

CONNECT_SECONDS = 5.0
IDLE_CONNECTIONS = 128  # kept for each model server
AVOID_SECONDS = 1.0  # after a failure, as long as another instance works
FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 0.5
CUT_OFF_LIMIT = 3  # a request that kills its model server must not go on doing so

log = logging.getLogger(__name__)


class ModelServerDown(HttpError):
    """503: no model server of the model answered within the request's time limit."""

    def __init__(self, message: str) -> None:
        super().__init__(503, message, {"Retry-After": "1"})


class Unloadable(HttpError):
    """503: none of the model's versions can be loaded; there is nothing to wait for."""

    def __init__(self, model: Model) -> None:
        super().__init__(503, f"Model {model.name!r} cannot be loaded: {model.unloadable}.")


class Backend:
    """One model server process and the idle connections to it."""

    def __init__(self, server: ModelServer) -> None:
        self.server = server
        self.outstanding = 0
        self.failed_at: float | None = None
        self._idle: list[Connection] = []

    def exchange(self, head: bytes, body: bytes) -> Answer:
        """Send on a kept connection if there is one, on a new one if that turns out closed.

        Raises Refused, CutOff.
        """
        self.outstanding += 1
        try:
            answer = self._exchange(head, body)
        except (Refused, CutOff) as error:
            if self.failed_at is None:
                log.warning(
                    "%s on port %d does not answer: %s.", self.server.program, self.server.rest_port, error
                )
            self.failed_at = time.monotonic()
            raise
        finally:
            self.outstanding -= 1
        if self.failed_at is not None:
            log.info("%s on port %d answers again.", self.server.program, self.server.rest_port)
            self.failed_at = None
        return answer

    def _exchange(self, head: bytes, body: bytes) -> Answer:
        if self._idle:
            try:
                return self._use(self._idle.pop(), head, body)
            except CutOff as error:
                self.close_idle()  # they are of the same process
                if not error.untouched:
                    raise
        return self._use(Connection(self.server.rest_port, CONNECT_SECONDS), head, body)

    def _use(self, connection: Connection, head: bytes, body: bytes) -> Answer:
        try:
            answer = connection.exchange(head, body)
        except BaseException:  # a time limit, too, leaves the connection in the middle of an answer
            connection.close()
            raise
        if connection.reusable and len(self._idle) < IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()


class Group:
    """The model servers of one model; `name` is the model's.

    `patience` is how long (seconds) a request waits for a model server that is down; None: up to its deadline.
    `others` are the groups of all models by name, for code that asks several.
    """

    def __init__(
        self,
        name: str,
        backends: tuple[Backend, ...],
        patience: float | None = None,
        others: Callable[[str], Group] | None = None,
    ) -> None:
        self.name = name
        self._others = others
        self.backends = backends
        self._patience = patience
        self._turn = 0
        self.given_up: Unloadable | None = None  # what is said to those who wait

    def send(self, head: bytes, body: bytes, deadline: float) -> Answer:
        """Send a request to one of the instances and return its answer, whatever its status.

        Args:
            head: request line and headers, ending in an empty line, with Content-Length.
            deadline: on the clock of time.monotonic(); how long to wait for a model server that is down. It
                does not limit the wait for an answer: that is the caller's gevent.Timeout.
        Raises ModelServerDown, Unloadable.
        """
        cut_off = 0
        pause = FIRST_PAUSE_SECONDS
        tried: list[Backend] = []
        while True:
            backend = self._pick(tried)
            if backend is None:
                if self.given_up:
                    raise self.given_up
                if self._patience is not None:
                    deadline = min(deadline, time.monotonic() + self._patience)
                if time.monotonic() + pause >= deadline:
                    raise ModelServerDown(self._down())
                gevent.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE_SECONDS)
                tried.clear()
                continue
            try:
                return backend.exchange(head, body)
            except Refused:
                tried.append(backend)
            except CutOff:
                tried.append(backend)
                cut_off += 1
                if cut_off == CUT_OFF_LIMIT:
                    raise ModelServerDown(
                        f"The model server of {self.name!r} closed the connection {cut_off} times while it "
                        "worked on this request; its log says why."
                    ) from None

    def other(self, name: str) -> Group:
        """The model servers of another model. Raises LookupError when there is no such model."""
        try:
            return self if name == self.name or self._others is None else self._others(name)
        except KeyError:
            raise LookupError(f"there is no model {name!r} here") from None

    @cached_property
    def channel(self) -> Any:
        """A grpc.Channel to all instances, see `grpc_channel`."""
        from tfsd.worker.upstream import grpc_channel  # a worker that never asks for it does without gRPC

        ports = [backend.server.grpc_port for backend in self.backends]
        return grpc_channel.connect(ports, wait=self._patience is None)

    def close_idle(self) -> None:
        for backend in self.backends:
            backend.close_idle()

    def _pick(self, tried: list[Backend]) -> Backend | None:
        """The instance with the least outstanding requests, in turn; one that failed just now comes last."""
        backends = self.backends
        if len(backends) == 1:
            return None if tried else backends[0]
        self._turn = turn = (self._turn + 1) % len(backends)
        recent = time.monotonic() - AVOID_SECONDS
        candidates = [backend for backend in backends[turn:] + backends[:turn] if backend not in tried]
        return min(
            candidates,
            key=lambda backend: ((backend.failed_at or 0.0) > recent, backend.outstanding),
            default=None,
        )

    def _down(self) -> str:
        programs = ", ".join(backend.server.program for backend in self.backends) or "none is planned"
        within = " within the request's time limit" if self._patience is None else ""
        return f"No model server of {self.name!r} answered{within} ({programs}). It is being restarted; try again."


class ModelServers:
    """All model servers of the plan, by model name and by REST port. `patience`: see Group."""

    def __init__(self, models: Mapping[str, Model], patience: float | None = None) -> None:
        self._patience = patience
        self._by_name: dict[str, Group] = {}
        self._by_port: dict[int, Group] = {}
        self.update(models)

    def update(self, models: Mapping[str, Model]) -> None:
        """Take the model servers from a new plan; connections to those that stay are kept."""
        before = self._by_name
        self._by_name = {name: self._group(model, before.get(name)) for name, model in models.items()}
        for name, model in models.items():
            self._by_name[name].given_up = Unloadable(model) if model.unloadable else None
        self._by_port = {
            backend.server.rest_port: group for group in self.groups for backend in group.backends
        }
        for name, group in before.items():
            if self._by_name.get(name) is not group:
                group.close_idle()

    def _group(self, model: Model, before: Group | None) -> Group:
        if before and tuple(backend.server for backend in before.backends) == model.servers:
            return before
        return Group(
            model.name, tuple(Backend(server) for server in model.servers), self._patience, self.of_model
        )

    @property
    def groups(self) -> Iterable[Group]:
        return self._by_name.values()

    def of_model(self, name: str) -> Group:
        return self._by_name[name]

    def of_port(self, port: int) -> Group | None:
        """The group with an instance whose REST port that is."""
        return self._by_port.get(port)

    def close_idle(self) -> None:
        for group in self.groups:
            group.close_idle()
