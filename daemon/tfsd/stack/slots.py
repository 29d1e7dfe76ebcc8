"""Slots: nginx's fixed upstreams, to which the model servers of a multi-model endpoint are assigned as models come.

nginx reads its upstreams at start only, so each slot has the REST ports of a host's model servers beforehand. A host
has a slot when its model servers have exactly these ports; nginx finds a model's slot by a link under the model's name
(conf/multi_model.conf). So it is with the workers of a model with code: a slot has a socket for each of them, which
nginx can choose among. Owns which ports and sockets those are and which models have a link.
"""

from __future__ import annotations

import re

from tfsd.plan import Plan
from tfsd.run_dir import RunDir
from tfsd.settings import Settings
from tfsd.stack import ports

#: The names that can be a link's as they are, for nginx and for a file system. All others go through a worker.
LINK_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


def lay_out(settings: Settings) -> tuple[tuple[int, ...], ...]:
    """The REST ports of each slot, one for each instance.

    With SAGEMAKER_SAFE_PORT_RANGE they are its last ones, at most every other; whether they are free is looked at when
    they are needed. Without it they are free now. Raises PortError.
    """
    size = settings.instance_count
    if settings.safe_port_range is None:
        numbers = ports.allocate(settings.model_slots * size, None, {settings.port})
    else:
        low, high = settings.safe_port_range
        usable = [port for port in range(low, high + 1) if port != settings.port]
        count = min(settings.model_slots, len(usable) // (2 * size)) * size
        numbers = usable[len(usable) - count :]
    return tuple(tuple(numbers[start : start + size]) for start in range(0, len(numbers), size))


def links(plan: Plan) -> dict[str, int]:
    """The models that nginx reaches without a worker, with the numbers of their slots."""
    numbers = {slot: number for number, slot in enumerate(plan.slots)}
    found = {}
    for model in plan.models.values():
        number = numbers.get(tuple(server.rest_port for server in model.servers))
        if number is not None and plan.pools[model.pool].script is None and LINK_NAME.fullmatch(model.name):
            found[model.name] = number
    return found


def marks(plan: Plan) -> dict[str, str]:
    """By which names nginx knows the models that it reaches without a worker."""
    if plan.slots:
        return {name: name for name in links(plan)}
    return {name: f"model_{index}" for index, name in enumerate(plan.models)}


def pool_sockets(settings: Settings, run_dir: RunDir) -> list[tuple[str, ...]]:
    """The sockets of each slot for a pool of workers, one for each worker. Raises RunDirError."""
    return [
        tuple(str(run_dir.slot_socket(number, worker)) for worker in range(settings.workers))
        for number in range(settings.model_slots)
    ]


def free_pool_slot(settings: Settings, run_dir: RunDir, plan: Plan) -> int | None:
    """The number of a slot whose sockets no pool has; None when there is none left."""
    used = {worker.socket for pool in plan.pools.values() for worker in pool.workers}
    for number, sockets in enumerate(pool_sockets(settings, run_dir)):
        if used.isdisjoint(sockets):
            return number
    return None
