"""From a failed gRPC call to the HTTP error that it means.

Owns the table of statuses, which is that of TensorFlow Serving's own REST API. Never imports gRPC: where no one
has, there is no such error.
"""

from __future__ import annotations

import sys
from typing import Any

from tfsd.errors import HttpError

HTTP_STATUS = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "UNAUTHENTICATED": 401,
}


def as_http_error(error: BaseException) -> HttpError | None:
    """The HTTP error for a grpc.RpcError, with the model server's own message; None for any other exception."""
    grpc: Any = sys.modules.get("grpc")
    if grpc is None or not isinstance(error, grpc.RpcError) or not isinstance(error, grpc.Call):
        return None
    code = error.code().name
    text = error.details() or f"The model server answered {code}."
    headers = {"Retry-After": "1"} if code == "UNAVAILABLE" else None
    return HttpError(HTTP_STATUS.get(code, 500), text, headers)
