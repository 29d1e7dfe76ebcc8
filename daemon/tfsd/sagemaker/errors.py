"""Errors of the API: a code, an HTTP status and a text, all three of them AWS's own, because clients read them.

Owns the types only; `service` puts one on the wire. Codes and statuses are those of botocore's service models.
"""

from __future__ import annotations

from typing import Any


class AwsError(Exception):
    """A request that is answered with an error. `members` are further members of the error's shape."""

    code = "InternalFailure"
    status = 500

    def __init__(self, message: str, **members: Any) -> None:
        super().__init__(message)
        self.message = message
        self.members = members


class ValidationException(AwsError):
    """Control plane: a value that is not accepted, and everything that "Could not find …"."""

    code, status = "ValidationException", 400


class ResourceInUse(AwsError):
    code, status = "ResourceInUse", 400


class ResourceNotFound(AwsError):
    code, status = "ResourceNotFound", 400


class ResourceLimitExceeded(AwsError):
    code, status = "ResourceLimitExceeded", 400


class UnknownOperationException(AwsError):
    """An operation that SageMaker has and this emulator has not, or that nobody has."""

    code, status = "UnknownOperationException", 400


class SerializationException(AwsError):
    """A body that is not JSON, or a member of another type than the shape says."""

    code, status = "SerializationException", 400


class ValidationError(AwsError):
    """Runtime: a request that cannot be sent to a container."""

    code, status = "ValidationError", 400


class PayloadTooLarge(AwsError):
    """Runtime: a body above the operation's limit. AWS's answer has no code but its status."""

    code, status = "413", 413


class ModelError(AwsError):
    """Runtime: the container answered 4xx or 5xx; members OriginalStatusCode, OriginalMessage, LogStreamArn."""

    code, status = "ModelError", 424


class ModelNotReadyException(AwsError):
    """Runtime: a model of a multi-model endpoint is still being fetched or loaded."""

    code, status = "ModelNotReadyException", 429


class ServiceUnavailable(AwsError):
    code, status = "ServiceUnavailable", 503


class ThrottlingException(AwsError):
    code, status = "ThrottlingException", 400


class InternalFailure(AwsError):
    code, status = "InternalFailure", 500
