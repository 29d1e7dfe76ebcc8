"""CloudWatch Logs from inside: lines of containers, written to moto's log groups.

Groups and streams are moto's, made when they are first written to; a stream keeps its last MAX_EVENTS lines.
"""

from __future__ import annotations

import time
from typing import Any

MAX_EVENTS = 20_000


class LogStream:
    """One stream of a group. `arn` is what ModelError carries as LogStreamArn."""

    def __init__(self, backend: Any, region: str, group: str, name: str, account: str) -> None:
        self._backend, self.region, self.group, self.name = backend, region, group, name
        self.arn = f"arn:aws:logs:{region}:{account}:log-group:{group}:log-stream:{name}"

    def write(self, line: str) -> None:
        """Add a line, now."""
        self._backend.ensure_log_group(self.group)
        self._backend.ensure_log_stream(self.group, self.name)
        event = {"timestamp": int(time.time() * 1000), "message": line or " "}
        stream = self._backend.groups[self.group].streams[self.name]
        stream.put_log_events([event])
        if len(stream.events) > MAX_EVENTS + MAX_EVENTS // 10:
            del stream.events[:-MAX_EVENTS]


class LogStreams:
    """The streams of all regions."""

    def __init__(self, backends: Any, account: str) -> None:
        """`backends` is moto's: by account, then region."""
        self._backends, self._account = backends, account

    def open(self, region: str, group: str, name: str) -> LogStream:
        """The stream `name` of `group` (`/aws/sagemaker/Endpoints/NAME`, `/aws/sagemaker/TransformJobs`)."""
        return LogStream(self._backends[self._account][region], region, group, name, self._account)
