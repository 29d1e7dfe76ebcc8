"""Errors that a client is meant to read: an HTTP status, a message that says what to do, perhaps headers.

Owns the type only. Turning one into a JSON answer is done in one place by each application; nothing here
knows of requests or responses.
"""

from collections.abc import Mapping


class HttpError(Exception):
    """A request that is answered with an error status instead of a result."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        """Take the HTTP `status`, the `message` for the client and further response `headers`."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers: dict[str, str] = dict(headers or {})


class BadRequest(HttpError):
    """400: what was sent cannot be understood."""

    def __init__(self, message: str) -> None:
        super().__init__(400, message)


class NotFound(HttpError):
    """404: the model, the version or the path does not exist here."""

    def __init__(self, message: str) -> None:
        super().__init__(404, message)


class PayloadTooLarge(HttpError):
    """413: the body is, or would grow, larger than is accepted."""

    def __init__(self, message: str) -> None:
        super().__init__(413, message)


class UnsupportedMediaType(HttpError):
    """415: a content type, charset or content encoding that nothing here reads."""

    def __init__(self, message: str) -> None:
        super().__init__(415, message)
