"""An instance of a model: what SageMaker runs on one machine, here a container or a pipeline of containers.

Owns the order of start, ping and stop, and the chain of a pipeline. Used by endpoints (one per machine of a variant)
and by batch transform (one per InstanceCount).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Lines = Callable[[str], None]


class InstanceError(Exception):
    """The instance cannot be started or does not become healthy; the text is a failure reason for the user."""


class Response:
    """A container's answer: `status`, `headers` (names in any case), and the body, which is still on the wire."""

    status: int
    headers: Mapping[str, str]

    def chunks(self) -> Iterator[bytes]:
        """The body's pieces, each as it comes."""
        raise NotImplementedError

    def read(self) -> bytes:
        """The whole body, decoded as the container sent it; the connection goes back to the pool."""
        raise NotImplementedError

    def close(self) -> None:
        """Give up a body that was not read to its end."""
        raise NotImplementedError


class Instance:
    """One machine. Made by `Launcher.instance`; nothing runs before `start`."""

    def start(self) -> None:
        """Fetch and unpack the model's data, then start its containers. Raises InstanceError."""
        raise NotImplementedError

    def wait_until_healthy(self, seconds: float) -> None:
        """Wait for 200 from every container's /ping. Raises InstanceError with the reason out of its log."""
        raise NotImplementedError

    @property
    def healthy(self) -> bool:
        """Whether the last ping of every container was answered with 200."""
        raise NotImplementedError

    def get(self, path: str, seconds: float = 2) -> Response:
        """GET from the first container: `/ping`, `/execution-parameters`, `/models`. Raises OSError."""
        raise NotImplementedError

    def invoke(
        self, body: bytes | Iterable[bytes], headers: Mapping[str, str], seconds: float = 60
    ) -> Response:
        """POST /invocations, through all containers of a pipeline. An iterable body is sent chunked.

        A 4xx or 5xx of a container is a Response; a connection that fails is an OSError, a time limit a TimeoutError.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """SIGTERM, SIGKILL after 30 s, and no process or directory is left. Does nothing the second time."""
        raise NotImplementedError


class Launcher:
    """Makes instances, each with a directory of its own below `DIR/instances`."""

    def instance(
        self, model: dict[str, Any], name: str, lines: Lines, environment: Mapping[str, str] | None = None
    ) -> Instance:
        """An instance of a model's record (CreateModel's request as it was stored).

        Args:
            model: a record of `State.models`.
            name: unique among those alive, as `transform-JOB-0`; names its directory.
            lines: called with each line that a container prints.
            environment: goes over the model's own, e.g. SAGEMAKER_BATCH.
        """
        raise NotImplementedError
