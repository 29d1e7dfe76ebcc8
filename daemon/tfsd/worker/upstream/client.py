"""The worker's way to the model servers: kept-alive connections, choice among instances, fail-over.

Predictions are idempotent, so a request whose answer did not arrive is sent again: to the model's other
instance, or to the same one when it is back. Owns the connections; never reads or changes what is sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import gevent

from tfsd.errors import HttpError
from tfsd.plan import Model, ModelServer
from tfsd.worker.upstream.backend import Backend, Backends
from tfsd.worker.upstream.connection import Answer, Connection, CutOff, Refused

FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 0.5
CUT_OFF_LIMIT = 3  # a request that kills its model server must not go on doing so


class ModelServerDown(HttpError):
    """503: no model server of the model answered within the request's time limit."""

    def __init__(self, message: str) -> None:
        super().__init__(503, message, {"Retry-After": "1"})


class Unloadable(HttpError):
    """503: none of the model's versions can be loaded; there is nothing to wait for."""

    def __init__(self, model: Model) -> None:
        super().__init__(503, f"Model {model.name!r} cannot be loaded: {model.unloadable}.")


class Group:
    """The model servers of one model; `name` is the model's.

    `patience` is how long (seconds) a request waits for a model server that is down; None: up to its deadline.
    `others` are the groups of all models by name, for code that asks several.
    """

    def __init__(
        self,
        name: str,
        servers: Sequence[ModelServer],
        patience: float | None = None,
        others: Callable[[str], Group] | None = None,
    ) -> None:
        self.name = name
        self._others = others
        self.servers = tuple(servers)
        self.backends = Backends(
            [Backend(server.program, server.rest_port, Connection) for server in servers]
        )
        self._patience = patience
        self.given_up: Unloadable | None = None  # what is said to those who wait

    def send(self, head: bytes, body: bytes, deadline: float) -> Answer:
        """Send a request to one of the instances and return its answer, whatever its status.

        Args:
            head: request line and headers, ending in an empty line, with Content-Length.
            deadline: on the clock of time.monotonic(); how long to wait for a model server that is down. It
                does not limit the wait for an answer: that is the caller's, see `time_limits`.
        Raises ModelServerDown, Unloadable.
        """
        cut_off = 0
        pause = FIRST_PAUSE_SECONDS
        tried: list[Backend[Answer]] = []
        while True:
            backend = self.backends.pick(tried)
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

        return grpc_channel.Channel(self.servers, wait=self._patience is None)

    def close_idle(self) -> None:
        self.backends.close_idle()
        if "channel" in self.__dict__:
            self.channel.close_idle()

    def _down(self) -> str:
        within = " within the request's time limit" if self._patience is None else ""
        return f"No model server of {self.name!r} answered{within} ({self.backends}). It is being restarted; try again."


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
        self._by_port = {server.rest_port: group for group in self.groups for server in group.servers}
        for name, group in before.items():
            if self._by_name.get(name) is not group:
                group.close_idle()

    def _group(self, model: Model, before: Group | None) -> Group:
        if before and before.servers == model.servers:
            return before
        return Group(model.name, model.servers, self._patience, self.of_model)

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
