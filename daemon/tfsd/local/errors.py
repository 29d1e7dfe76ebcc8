"""What a verb of bin/local says when it cannot do what it was asked for."""

from __future__ import annotations

from tfsd.errors import StartError


class LocalError(StartError):
    """What was asked for cannot be done here; the text says why."""
