"""What a model server last answered to the request that a greenlet works on: set on the way
upstream, read by the modes.

A handler that returns the content of an error as it is, without looking at its status, means that error.
"""

from __future__ import annotations

from contextvars import ContextVar

from tfsd.worker.upstream.connection import Answer

last_answer: ContextVar[Answer | None] = ContextVar("last_answer", default=None)
