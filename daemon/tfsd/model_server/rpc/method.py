"""What a gRPC server serves: methods from bytes to bytes, without a transport."""

from __future__ import annotations

from collections.abc import Callable

from tfsd.model_server.errors import ServingError

_DETAILS_LIMIT = 1024  # bytes of an error text; the rest is cut, as the real server does

#: Whether the client still waits for the answer.
IsActive = Callable[[], bool]
#: Answers a serialized request with a serialized response; raises ServingError.
Method = Callable[[bytes, IsActive], bytes]


def details(error: ServingError) -> str:
    """The text of an error's status."""
    raw = error.message.encode("utf-8", "replace")
    if len(raw) <= _DETAILS_LIMIT:
        return error.message
    return f"{raw[:_DETAILS_LIMIT].decode('utf-8', 'ignore')}...TRUNCATED"
