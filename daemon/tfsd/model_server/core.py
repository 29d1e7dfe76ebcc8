"""The server's core: which servables there are, and the verbs that look them up, report and reconfigure.

Never touches a transport: gRPC and REST are thin layers over this and `inference`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from tfsd.model_server.servable import Servable
from tfsd.model_server.spec import ModelSpec

__all__ = ["ModelSpec", "ServerCore"]


class ServerCore:
    """All models of this process."""

    def servable(self, spec: ModelSpec) -> AbstractContextManager[Servable]:
        """The servable for a request; while the context is open it is not unloaded.

        Raises ServingError: INVALID_ARGUMENT (`ModelSpec has no name specified.`, `Unrecognized servable
            version label: L`) or NOT_FOUND (`Servable not found for request: Latest(m)` / `Specific(m, 9)`).
        """
        raise NotImplementedError

    def model_status(self, spec: ModelSpec) -> Any:
        """A `GetModelStatusResponse`, versions newest first; labels are ignored as the real server does.

        Raises ServingError: NOT_FOUND `Could not find any versions of model m` /
            `Could not find version 9 of model m`; INVALID_ARGUMENT `Missing ModelSpec`.
        """
        raise NotImplementedError

    def reload_config(self, config: Any) -> None:
        """Make the served models those of a `ModelServerConfig`; returns when they are loaded.

        Raises ServingError: the configuration is refused (nothing changed) or a model did not load.
        """
        raise NotImplementedError
