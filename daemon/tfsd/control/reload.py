"""Having a running model server serve other models (HandleReloadConfigRequest of its gRPC ModelService)."""

from __future__ import annotations

from collections.abc import Sequence

from tfsd.control.hosts import LoadRefused
from tfsd.plan import Model, ModelServer


def reload(server: ModelServer, models: Sequence[Model]) -> None:
    raise LoadRefused("not yet")
