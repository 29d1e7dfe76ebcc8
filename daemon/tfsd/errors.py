"""The two kinds of error that somebody is meant to read: one ends a start, the other a request.

Owns the types only. A `StartError` is one line for the operator and exit status 1; an `HttpError` has an HTTP
status, a message that says what to do, and perhaps headers. Each is rendered in one place by each program; nothing
here knows of requests or responses.
"""

import errno
import os
from collections.abc import Mapping

REQUEST, CODE, MODEL_SERVER = "request", "code", "model_server"
UNAVAILABLE, TIME_LIMIT, NGINX = "unavailable", "time_limit", "nginx"
CAUSES = (REQUEST, CODE, MODEL_SERVER, UNAVAILABLE, TIME_LIMIT, NGINX)
"""Whose an error is that a client gets: a label of the metrics, so the list is closed."""

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
"""What an OSError has when a disk, or a user's part of it, is full."""


class StartError(Exception):
    """What was asked for cannot be served; the text says what is wrong, where, and what to do.

    It is a clause, which goes on after the program's name; `sentence` ends it.
    """


def sentence(text: object) -> str:
    """The text with a full stop, unless it has an end already."""
    clause = str(text)
    return clause if clause.endswith((".", "?", "!")) else f"{clause}."


def os_problem(error: OSError) -> str:
    """One line for what the operating system refused: where, why, what to do."""
    hints = {
        errno.ENOSPC: "make room on that disk",
        errno.EDQUOT: "make room on that disk",
        errno.EACCES: f"look at its permissions; this is user id {os.geteuid()}",
        errno.EROFS: "name another directory, or mount one that can be written",
    }
    hint = hints.get(error.errno or 0)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}{f'; {hint}' if hint else ''}"


class HttpError(Exception):
    """A request that is answered with an error status instead of a result. The base of all that carry one."""

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
