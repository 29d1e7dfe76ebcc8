"""The server's core: which servables there are, and the verbs that look them up, report and reconfigure.

Never touches a transport: gRPC and REST are thin layers over this and `inference`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Self

from tensorflow_serving.apis import get_model_status_pb2

from tfsd.model_server import model_config
from tfsd.model_server.errors import Code, ServingError, invalid
from tfsd.model_server.lead import leave
from tfsd.model_server.lifecycle import Lifecycle, Version
from tfsd.model_server.servable import Servable
from tfsd.model_server.source import VersionSource
from tfsd.model_server.spec import ModelSpec

log = logging.getLogger(__name__)

__all__ = ["ModelSpec", "ServerCore"]


class Lease:
    """What a request asks for, held: the servable is not unloaded while the context is open.

    That there is none is not said before `servable` is asked for: the real server reads a JSON body first.
    """

    __slots__ = ("_error", "_lifecycle", "_version")

    def __init__(
        self, lifecycle: Lifecycle, version: Version | None, error: ServingError | None = None
    ) -> None:
        self._lifecycle = lifecycle
        self._version = version
        self._error = error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._version is not None:
            self._lifecycle.release(self._version)

    @property
    def servable(self) -> Servable:
        """Raises ServingError: INVALID_ARGUMENT (`ModelSpec has no name specified.`, `Unrecognized servable version
        label: L`) or NOT_FOUND (`Servable not found for request: Latest(m)` / `Specific(m, 9)`)."""
        if self._version is None:
            assert self._error is not None
            raise self._error
        return self._version.servable


class ServerCore:
    """All models of this process.

    Args:
        lenient_labels: --allow_version_labels_for_unavailable_models.
        lenient_start: --start_despite_load_errors; whether the first configuration may have versions that
            cannot be loaded.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        source: VersionSource,
        lenient_labels: bool = False,
        lenient_start: bool = False,
    ) -> None:
        self._lifecycle = lifecycle
        self._source = source
        self._lenient_labels = lenient_labels
        self._lenient_start = lenient_start
        self._configuring = threading.Lock()
        self._configured: frozenset[str] = frozenset()
        self._labels: dict[str, dict[str, int]] = {}
        self._last_config: Any = None
        self._serial = 0

    def lease(self, spec: ModelSpec) -> Lease:
        """The servable for a request: enter the context at once."""
        if not spec.name:
            return self._no_lease(invalid("ModelSpec has no name specified."))
        number = spec.version
        if spec.label is not None:
            number = self._labels.get(spec.name, {}).get(spec.label)
            if number is None:
                return self._no_lease(invalid(f"Unrecognized servable version label: {spec.label}"))
        version = self._lifecycle.acquire(spec.name, number)
        if version is None:
            wanted = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
            text = f"Servable not found for request: {wanted}"
            return self._no_lease(ServingError(Code.NOT_FOUND, text))
        return Lease(self._lifecycle, version)

    def _no_lease(self, error: ServingError) -> Lease:
        return Lease(self._lifecycle, None, error)

    def model_status(self, spec: ModelSpec) -> Any:
        """A `GetModelStatusResponse`, versions newest first; labels are ignored as the real server does.

        Raises ServingError: NOT_FOUND `Could not find any versions of model m` /
            `Could not find version 9 of model m`.
        """
        states = self._lifecycle.states(spec.name)
        if spec.version is not None:
            states = [entry for entry in states if entry[0] == spec.version]
            if not states:
                raise ServingError(
                    Code.NOT_FOUND, f"Could not find version {spec.version} of model {spec.name}"
                )
        if not states:
            raise ServingError(Code.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, state, error in states:
            entry = response.model_version_status.add(version=number, state=state.value)
            entry.status.SetInParent()
            if error is not None:
                entry.status.error_code = error.code.value
                entry.status.error_message = error.message
        return response

    def reload_config(
        self, config: Any, cancelled: Callable[[], bool] = lambda: False, wait: bool = True
    ) -> None:
        """Make the served models those of a `ModelServerConfig`; returns when the new ones can serve.

        Args:
            cancelled: asked now and then whether the caller still waits.
            wait: whether to wait for the new models at all.
        Raises ServingError: the configuration is refused (nothing has changed then) or a model did not load;
            CANCELLED, also when another configuration came meanwhile.
        """
        with self._configuring:
            first = not self._serial
            new = self._configure(config)
            serial = self._serial

        def given_up() -> bool:
            return cancelled() or self._serial != serial

        leave()
        if first and self._lenient_start:
            self._lifecycle.wait_tried(new, given_up)
        elif wait:
            self._lifecycle.wait_available(new, given_up, "servable(s)" if first else "model(s)")

    def _configure(self, config: Any) -> list[str]:
        """Take over a configuration; returns the names of the models that are new."""
        kind = config.WhichOneof("config")
        if kind is None:
            log.info("Taking no action for empty config.")
            return []
        if kind != "model_config_list":
            raise invalid("Only a model_config_list is supported in ModelServerConfig")
        configs = model_config.models(config, self._configured)
        available = self._lifecycle.available()
        labels = model_config.check_labels(configs, available, self._labels, self._lenient_labels)
        if config != self._last_config:
            log.info("Adding/updating models: %s", ", ".join(one.name for one in configs) or "none")
            self._serial += 1
        new = [one.name for one in configs if one.name not in self._configured]
        self._source.set_models(configs)
        self._configured = frozenset(one.name for one in configs)
        self._labels = labels
        self._last_config = config
        return new
