"""The request that a greenlet works on, for whatever user code asks of model servers by itself.

The application sets it. A greenlet that user code spawns inherits it with its context, or has none.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

from tfsd.worker.upstream.connection import Answer


class Asking(Protocol):
    """A request, as far as the way to model servers is concerned.

    Attributes:
        deadline: by when it must be answered, on the clock of time.monotonic().
        answered: what a model server last answered to user code's own `requests`, None before. A handler that
            returns the content of an error as it is, without looking at its status, means that error.
    """

    deadline: float
    answered: Answer | None


current: ContextVar[Asking | None] = ContextVar("current", default=None)
