"""What may go wrong with a load, and which status the platform is answered with (hosting contract, section 4)."""

from __future__ import annotations

import signal

import gevent

from tfsd.control.models.code_preparation import CodeError, NoRoomForCode
from tfsd.control.models.hosts import HostDied
from tfsd.control.models.readiness import PoolDied
from tfsd.control.models.reload import Hangs, LoadRefused
from tfsd.control.supervisor_client import SupervisorError
from tfsd.errors import NO_SPACE, BadRequest, HttpError
from tfsd.start.environments import KILLED

EXPECTED = (HttpError, HostDied, LoadRefused, Hangs, PoolDied, CodeError, SupervisorError, gevent.Timeout)
"""What may go wrong with a load: each is an answer, not a fault of ours."""


class InsufficientStorage(HttpError):
    """507: no memory, port or other resource is left for the model; the platform unloads others and retries."""

    def __init__(self, message: str) -> None:
        super().__init__(507, message)


def answer(name: str, error: BaseException, load_timeout: float) -> BaseException:
    """What the platform is told about a load that failed; the error itself when that is no answer.

    `load_timeout` is the limit that it had, in seconds.
    """
    if isinstance(error, HostDied):
        return _answer_to_end(name, error)
    if isinstance(error, NoRoomForCode):
        return InsufficientStorage(f"Model {name!r}: {error}.")
    if isinstance(error, PoolDied) and error.end.code == -signal.SIGKILL:
        return InsufficientStorage(f"Model {name!r}: its worker, at its start, {KILLED}.")
    if isinstance(error, (PoolDied, CodeError, LoadRefused)):
        return BadRequest(f"Model {name!r}: {error}")
    if isinstance(error, gevent.Timeout):
        limit = f"{load_timeout:g} s (SAGEMAKER_TFS_WAIT_TIME_SECONDS)"
        return HttpError(504, f"Model {name!r} was not ready within {limit}.")
    if isinstance(error, Hangs):
        return HttpError(504, f"Model {name!r}: the model server hangs: {error}.")
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return InsufficientStorage(f"Model {name!r}: the disk is full: {error}.")
    if isinstance(error, (SupervisorError, OSError)):
        return HttpError(500, f"Model {name!r}: {error}")
    return error


def _answer_to_end(name: str, error: HostDied) -> HttpError:
    """What the platform is told about a model server that ended: only memory makes it unload other models."""
    text = f"Model {name!r}: while it loaded the model, {error}"
    if error.end.code == -signal.SIGKILL:
        return InsufficientStorage(f"{text}, which is what the kernel does when memory runs out.")
    if error.end.code in (-signal.SIGTERM, -signal.SIGINT, -signal.SIGQUIT):
        return HttpError(503, f"{text}: it was stopped. Try again.", {"Retry-After": "1"})
    return BadRequest(
        f"{text}." if error.end.code > 0 else f"{text}: it crashed; the container's log says why."
    )
