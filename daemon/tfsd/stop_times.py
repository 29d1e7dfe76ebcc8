"""How long each process may take to stop: derived from the request limit and from what the platform allows.

Stopping goes in order: nginx finishes what is in flight, then the workers, control and the model servers, which have
nothing left to do by then. A single process that is restarted meanwhile, by `supervisorctl` or by control, finishes its
requests too. All times are in seconds.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # supervisord takes a number from here, and has no use for the settings
    from tfsd.settings import Settings

AFTER_NGINX = 2  # for each of the workers, control and the model servers, when the whole stack stops
KILL_MARGIN = 1  # a process says itself that it could not finish, before it is killed
SPARE = 1  # of the platform's time, for supervisord itself
CONTROL = 2
SHORTEST = 1


@dataclasses.dataclass(frozen=True)
class StopTimes:
    """`nginx`, `worker` and `model_server` are supervisord's stopwaitsecs; the drains end a little earlier."""

    nginx: int
    nginx_drain: int
    worker: int
    worker_drain: int
    model_server: int
    control: int = CONTROL


def stop_times(settings: Settings) -> StopTimes:
    """The times of a stack with these settings."""
    request = int(settings.gateway_timeout)
    most = int(settings.stop_time) - SPARE - 3 * AFTER_NGINX - KILL_MARGIN
    drain = max(SHORTEST, min(request, most))
    return StopTimes(
        nginx=drain + KILL_MARGIN,
        nginx_drain=drain,
        worker=drain + 2 * KILL_MARGIN,
        worker_drain=drain,
        model_server=drain + KILL_MARGIN,
    )
