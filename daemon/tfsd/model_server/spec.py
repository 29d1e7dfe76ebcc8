"""`ModelSpec`: which model, version and signature a request asks for. Holds no rule on how it is resolved."""

from __future__ import annotations

from typing import NamedTuple


class ModelSpec(NamedTuple):
    """What a request names; at most one of `version` and `label` is set.

    Attributes:
        name: the model's name; may be empty only where the caller reports it.
        version: a version number, or None for the latest (or the labelled) one.
        label: a version label of the model's configuration, or None.
        signature_name: as sent; an empty one means `serving_default`.
    """

    name: str
    version: int | None = None
    label: str | None = None
    signature_name: str = ""
