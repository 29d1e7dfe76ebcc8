"""One invocation, and what a worker may do with it: the names that every mode shares."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from tfsd.worker.replies import Reply
from tfsd.worker.targets import Target
from tfsd.worker.upstream.connection import Answer

TRACEPARENT = re.compile(r"[0-9a-f]{2}(-[0-9a-f]+)+")  # W3C Trace Context, section 3.2


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """One invocation. `deadline` is on the clock of time.monotonic()."""

    environ: Mapping[str, Any]
    target: Target
    deadline: float

    @property
    def data(self) -> Any:
        """The body: a binary stream that is read from the connection as it is asked for."""
        return self.environ["wsgi.input"]

    def post(self, body: bytes) -> Answer:
        """Post JSON to the model server of the target, with the request's `traceparent`. Raises ModelServerDown."""
        head = self.target.post_head + b"%d\r\n" % len(body)
        trace = self.environ.get("HTTP_TRACEPARENT")
        if trace and TRACEPARENT.fullmatch(trace):
            head += b"traceparent: " + trace.encode() + b"\r\n"
        return self.target.group.send(head + b"\r\n", body, self.deadline)


Mode = Callable[[Call], Reply]
