"""The page's parts put together, and kept up to date: what `control` starts and asks.

Owns their greenlets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import gevent
from bottle import Bottle

from tfsd.control.health.health import Health
from tfsd.control.health.transitions import Transitions
from tfsd.control.metrics.saved_counters import Memory
from tfsd.control.page import routes
from tfsd.control.page.recent import STEP_SECONDS, BatchTotals, RecentRequests
from tfsd.control.page.recent_errors import RecentErrors, listen
from tfsd.control.page.signatures import Signatures
from tfsd.control.supervisor_client import Process
from tfsd.run_dir import RunDir
from tfsd.settings import Settings

if TYPE_CHECKING:
    from tfsd.control.page.status import Status

BATCHING = "tensorflow_serving_batching_session_"
ROWS, WAITS = BATCHING + "processed_batch_size", BATCHING + "queuing_latency"


class Page:
    """The status page and the API's description."""

    def __init__(
        self,
        settings: Settings,
        run_dir: RunDir,
        health: Health,
        memory: Memory,
        transitions: Transitions,
        processes: Callable[[], Mapping[str, Process]],
        in_flight: Callable[[], Mapping[str, int]],
        environ: Mapping[str, str],
    ) -> None:
        """`processes` returns what supervisord runs, `in_flight` the requests in the workers by model."""
        self._settings = settings
        self._run_dir = run_dir
        self._health = health
        self._memory = memory
        self._transitions = transitions
        self._processes = processes
        self._in_flight = in_flight
        self._environ = environ
        self.errors = RecentErrors()
        self._signatures = Signatures()
        self._recent = RecentRequests(memory.requests, self._batch_totals)

    def start(self, on_crash: Callable[[gevent.Greenlet], None]) -> None:
        """Keep up to date from now on. Raises OSError."""
        if self._settings.status_page:
            listen(self._run_dir.errors_socket, self.errors).link_exception(on_crash)
            gevent.spawn(self._tick).link_exception(on_crash)

    def add_routes(self, app: Bottle) -> None:
        """Add the page, if it is wanted, and the description to control's application."""
        routes.add_description(app, self._description)
        if self._settings.status_page:
            routes.add_page(app, self._status().document)

    def _tick(self) -> None:
        while True:
            gevent.sleep(STEP_SECONDS)
            self._recent.tick()

    def _status(self) -> Status:
        from tfsd.control.page.status import Status

        return Status(
            self._settings,
            self._run_dir,
            self._health,
            self._transitions,
            self._memory,
            self._recent,
            self.errors,
            self._signatures,
            self._processes,
            self._in_flight,
            self._environ,
        )

    def _description(self) -> dict[str, Any]:
        from tfsd.control.page import openapi

        plan = self._health.plan
        models = list(plan.models.values()) if plan else []
        self._signatures.forget_all_but({model.name for model in models})
        return openapi.document(
            self._settings, plan, {model.name: self._signatures.of(model) for model in models}
        )

    def _batch_totals(self) -> dict[str, BatchTotals]:
        """What the model servers' batching has done, by model; nothing without batching."""
        if not (self._settings.enable_batching and self._settings.status_page):
            return {}
        from tfsd.control.metrics.scrape import model_server_metrics

        totals: dict[str, dict[str, float]] = {}
        for family in model_server_metrics(self._health.plan, self._memory.polls):
            if family.name in (ROWS, WAITS):
                for sample in family.samples:
                    if sample.name.endswith(("_sum", "_count")):
                        model = totals.setdefault(sample.labels["model"], {})
                        model[sample.name] = model.get(sample.name, 0.0) + sample.value
        names = (ROWS + "_count", ROWS + "_sum", WAITS + "_count", WAITS + "_sum")
        return {
            model: tuple(found.get(name, 0.0) for name in names)  # type: ignore[misc]
            for model, found in totals.items()
        }
