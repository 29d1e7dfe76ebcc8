"""CloudWatch Logs from inside: lines of containers, written to moto's log groups.

Owns nothing: groups and streams are moto's, made when they are first written to.
"""

from __future__ import annotations

from typing import Any


class LogStream:
    """One stream of a group. `arn` is what ModelError carries as LogStreamArn."""

    def __init__(self, backend: Any, region: str, group: str, name: str) -> None:
        self._backend, self.region, self.group, self.name = backend, region, group, name

    @property
    def arn(self) -> str:
        raise NotImplementedError

    def write(self, line: str) -> None:
        """Add a line, now."""
        raise NotImplementedError


class LogStreams:
    """The streams of all regions."""

    def open(self, region: str, group: str, name: str) -> LogStream:
        """The stream `name` of `group` (`/aws/sagemaker/Endpoints/NAME`, `/aws/sagemaker/TransformJobs`)."""
        raise NotImplementedError
