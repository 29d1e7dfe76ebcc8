"""What a gRPC server serves: methods from bytes to bytes, without a transport."""

from __future__ import annotations

import logging
from collections.abc import Callable

from tfsd.model_server.errors import Code, ServingError

log = logging.getLogger(__name__)

_DETAILS_LIMIT = 1024  # bytes of an error text; the rest is cut, as the real server does

#: Whether the client still waits for the answer.
IsActive = Callable[[], bool]
#: Answers a serialized request with a serialized response, and calls `lead.leave` before what may take long; raises
#: ServingError.
Method = Callable[[bytes, IsActive], bytes]


def details(error: ServingError) -> str:
    """The text of an error's status."""
    raw = error.message.encode("utf-8", "replace")
    if len(raw) <= _DETAILS_LIMIT:
        return error.message
    return f"{raw[:_DETAILS_LIMIT].decode('utf-8', 'ignore')}...TRUNCATED"


def outcome(method: Method, request: bytes, is_active: IsActive) -> bytes | ServingError:
    """Run a method: its response, or what it failed with."""
    try:
        return method(request, is_active)
    except ServingError as error:
        return error
    except Exception as error:
        log.exception("A gRPC call failed: a defect of this server.")
        return ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")


def exhausted() -> ServingError:
    """What a call beyond the limit is refused with."""
    return ServingError(Code.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
