"""By when the request must be answered that a greenlet works on: set by the application, read on the way upstream."""

from __future__ import annotations

from contextvars import ContextVar

current_deadline: ContextVar[float] = ContextVar("current_deadline")
"""On the clock of time.monotonic(). A greenlet that user code spawns inherits it with its context, or has none."""
