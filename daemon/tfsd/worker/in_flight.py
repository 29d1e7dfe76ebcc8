"""How many requests a worker is answering, by model: what a model's unloading waits for, and a metric.

Owns the counts. A request counts from the moment its model is known until its answer is sent.
"""

from __future__ import annotations

from typing import Any

KEY = "tfsd.model"


class InFlight:
    """`counts` has the models that have a request in flight."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def enter(self, environ: dict[str, Any], model: str) -> None:
        """The request with that WSGI environment is for `model`."""
        environ[KEY] = model
        self.counts[model] = self.counts.get(model, 0) + 1

    def leave(self, environ: dict[str, Any]) -> None:
        """The request is answered; one that never entered is no mistake."""
        model = environ.pop(KEY, None)
        if model is not None:
            left = self.counts[model] - 1
            if left:
                self.counts[model] = left
            else:
                del self.counts[model]
