"""Whether a document is OpenAPI, by openapi_spec_validator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def validate(document: Mapping[str, Any]) -> None:
    """Raises the validator's errors. It is imported here: that takes a second, of each process that collects tests."""
    from openapi_spec_validator import validate

    validate(document)
