"""A warning when the model servers can be reached from outside of this machine.

The embedded server listens on loopback. tensorflow_model_server listens on all addresses and has no flag against it.
Owns the look at the ports, once, and the line in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from tfsd.control.health.health import Health
from tfsd.control.health.listening import listening
from tfsd.control.supervisor_client import Process

ANYTHING = "can have any model loaded, which may read and write files"
PREDICTIONS = "has predictions past the endpoint's limits"

log = logging.getLogger(__name__)


class OpenPorts:
    """Looks at the first model server that serves: the others are the same program."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._looked = False

    def processes_seen(self, _: Mapping[str, Process]) -> None:
        """Warn if need be, when a model server is available for the first time."""
        for model in self._health.plan.models.values() if self._health.plan else ():
            if self._looked or not self._health.available(model):
                continue
            ports = listening()
            self._looked = True
            for server in model.servers:
                numbers = sorted(server.ports)
                found = {str(a) for port in numbers for a in ports.get(port, ()) if not a.is_loopback}
                if found:
                    log.warning(
                        "Model servers listen on %s (%s: ports %s): whoever reaches them %s. "
                        "Let only the endpoint's port be reached.",
                        ", ".join(sorted(found)), server.program, " and ".join(map(str, numbers)),
                        ANYTHING if server.grpc_port else PREDICTIONS,
                    )  # fmt: skip
                    break
