"""A live endpoint: its variants, which take requests by weight, and the instances behind each.

Owns the choice of variant and instance for a request. What the API says of an endpoint is its record in `State`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from tfsd.sagemaker.instances.instance import Response


@dataclasses.dataclass(frozen=True)
class Invocation:
    """One request to an endpoint: `headers` are those that the container gets, besides them what routes it."""

    body: bytes | Iterable[bytes]
    headers: Mapping[str, str]
    target_variant: str | None = None
    target_model: str | None = None
    target_container: str | None = None
    seconds: float = 60


class Endpoint:
    """Found by `emulator.endpoints[name]`; `record` is that of `State.endpoints`, `config` its configuration's."""

    record: dict[str, Any]
    config: dict[str, Any]

    def invoke(self, invocation: Invocation) -> tuple[str, Response]:
        """The name of the variant that was invoked, and the container's answer, an error status included.

        Raises AwsError: ValidationError for a variant that is not there, ModelError for a container that does not
        answer, and so on.
        """
        raise NotImplementedError
