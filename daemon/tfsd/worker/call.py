"""One invocation, and what a worker may do with it: the names that every mode shares."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tfsd.errors import HttpError
from tfsd.worker.replies import Reply
from tfsd.worker.targets import Target
from tfsd.worker.upstream.connection import Answer

TRACEPARENT = re.compile(r"[0-9a-f]{2}(-[0-9a-f]+)+")  # W3C Trace Context, section 3.2


@dataclasses.dataclass(slots=True)  # and not frozen, which costs a call for each field
class Call:
    """One invocation.

    Attributes:
        environ: WSGI's.
        target: what it is for.
        data: the body: a binary stream that is read from the connection as it is asked for.
        deadline: on the clock of time.monotonic().
        since: the Unix time when nginx passed it on.
        answered: what a model server last answered to a handler's own `requests`.
    """

    environ: Mapping[str, Any]
    target: Target
    data: Any
    deadline: float
    since: float
    answered: Answer | None = None

    def post(self, body: bytes) -> Answer:
        """Post JSON to the model server of the target, with the request's `traceparent`. Raises ModelServerDown."""
        target = self.target
        trace = self._trace() if "HTTP_TRACEPARENT" in self.environ else b""
        return target.group.send(
            b"%b%d\r\n%b\r\n" % (target.post_head, len(body), trace), body, self.deadline
        )

    def get(self, tail: str) -> Answer:
        """GET what the model server says of the target's model; `tail` comes after the model's path, such as
        `/metadata`. Raises ModelServerDown."""
        head = f"GET {self.target.model_path}{tail} HTTP/1.1\r\nHost: localhost\r\n".encode("ascii")
        return self.target.group.send(head + self._trace() + b"\r\n", b"", self.deadline)

    def _trace(self) -> bytes:
        trace = self.environ.get("HTTP_TRACEPARENT")
        return b"traceparent: %b\r\n" % trace.encode() if trace and TRACEPARENT.fullmatch(trace) else b""


Mode = Callable[[Call], Reply]


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What a request is for, by its path: a target, and what to do with it.

    `attributes` are the custom attributes with which an invocation means the same, None where there is no such
    invocation; in multi-model mode it is one of `target_model`. A sampled request is captured as that invocation.
    """

    target: Target
    mode: Mode
    attributes: str | None = None
    target_model: str | None = None


class Api(Protocol):
    """An API beside `/invocations`; its paths are `prefix` and what lies below it."""

    prefix: str

    def find(self, environ: Mapping[str, Any]) -> Found | Reply:
        """What a request is for, or its answer where no model has to be asked. Raises HttpError."""


def allow(verb: str, allowed: str, path: str) -> None:
    """Raise HttpError 405 for a verb that a path of an `Api` does not take (RFC 9110, section 15.5.6)."""
    if verb != allowed:
        raise HttpError(405, f"{verb} is not allowed for {path}; use {allowed}.", {"Allow": allowed})
