"""What the status page shows, as one JSON-able document: `GET /status.json`.

Owns the document's form. Every value is what a part of control knows already (health, counters, the plan); the
page has no second opinion.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tfsd import __version__
from tfsd.control.ends import end_of
from tfsd.control.health.health import Health
from tfsd.control.health.transitions import Transitions
from tfsd.control.metrics.processes import resident_bytes
from tfsd.control.metrics.saved_counters import Memory
from tfsd.control.page.examples import example_request
from tfsd.control.page.recent import STEP_SECONDS, RecentRequests, Step, quantile, summary
from tfsd.control.page.recent_errors import RecentErrors
from tfsd.control.page.signatures import Signature, Signatures
from tfsd.control.supervisor_client import Process
from tfsd.plan import Model
from tfsd.run_dir import RunDir
from tfsd.settings import Settings, variables

HIDDEN = "(hidden)"
SECRETS = ("args",)  # parts of the names of settings whose values may hold what is not for every eye


@dataclasses.dataclass(frozen=True)
class Status:
    """Builds the document from the parts of control, which it is handed.

    `processes` returns what supervisord runs, `in_flight` the requests in the workers by model.
    """

    settings: Settings
    run_dir: RunDir
    health: Health
    transitions: Transitions
    memory: Memory
    recent: RecentRequests
    errors: RecentErrors
    signatures: Signatures
    processes: Callable[[], Mapping[str, Process]]
    in_flight: Callable[[], Mapping[str, int]]
    environ: Mapping[str, str]

    def document(self) -> dict[str, Any]:
        """Everything that the page shows, in the page's order. Times are Unix times, durations seconds."""
        plan = self.health.plan
        models = list(plan.models.values()) if plan else []
        self.signatures.forget_all_but({model.name for model in models})
        return {
            "version": __version__,
            "time": time.time(),
            "multi_model": self.settings.multi_model,
            "port": self.settings.port,
            **self._verdict(len(models)),
            "models": self._model_list(models),
            "processes": self._process_list(),
            "settings": self._setting_list(),
            "errors": self.errors.document(),
        }

    def _verdict(self, models: int) -> dict[str, Any]:
        missing = self.health.missing()
        if missing:
            text = "Not healthy: " + "; ".join(missing) + "."
        elif models == 1:
            text = "Healthy: the model is served."
        else:
            text = f"Healthy: {models} models are served."
        lasting = self.transitions.lasting
        return {
            "healthy": not missing,
            "verdict": text,
            "missing": missing,
            "degraded": self.health.degraded(),
            "since": None if lasting is None else time.time() - lasting,
        }

    def _model_list(self, models: Iterable[Model]) -> list[dict[str, Any]]:
        in_flight = self.in_flight()
        versions: dict[str, list[dict[str, Any]]] = {}
        for seen in self.health.version_states():
            took = self.memory.loads.seconds.get((seen.model, seen.program, seen.version))
            described = {**dataclasses.asdict(seen), "load_seconds": took}
            versions.setdefault(seen.model, []).append(described)
        return [
            self._model(model, versions.get(model.name, []), in_flight.get(model.name, 0)) for model in models
        ]

    def _model(self, model: Model, versions: list[dict[str, Any]], in_flight: int) -> dict[str, Any]:
        plan = self.health.plan  # perhaps another one by now, from which the model has gone
        pool = plan.pools.get(model.pool) if plan else None
        steps = self.recent.steps(model.name)
        total = summary(steps)
        return {
            "name": model.name,
            "url": model.url,
            "default": plan is not None and plan.default_model == model.name,
            "code": pool is not None and pool.script is not None,
            "available": self.health.available(model),
            "versions": versions,
            "in_flight": in_flight,
            "window": {
                "seconds": len(steps) * STEP_SECONDS,
                "step_seconds": STEP_SECONDS,
                "requests": total.requests,
                "errors": total.errors,
                "p50": quantile(total, 0.5),
                "p99": quantile(total, 0.99),
                "batch_rows": total.rows / total.batches if total.batches else None,
                "max_batch_size": self.settings.max_batch_size if self.settings.enable_batching else None,
                "queue_seconds": total.waited_micros / total.waits / 1e6 if total.waits else None,
                "steps": [_step(step) for step in steps],
            },
            "signatures": {
                name: _signature(signature) for name, signature in self.signatures.of(model).items()
            },
        }

    def _last_end(self, program: str) -> str | None:
        """How the program's last process ended, None when none has."""
        end = end_of(self.run_dir, program)
        return end.described() if end else None

    def _process_list(self) -> list[dict[str, Any]]:
        now = time.time()
        counts = self.memory.restarts.counts
        return [
            {
                "program": process.program,
                "state": process.state,
                "pid": process.pid,
                "uptime": max(0.0, now - process.start) if process.pid else None,
                "restarts": counts[process.program],
                "memory_bytes": memory,
                "last_end": self._last_end(process.program),
            }
            for process, memory in self._with_memory()
        ]

    def _with_memory(self) -> list[tuple[Process, int | None]]:
        processes = self.processes()
        resident = resident_bytes({p.program: p.pid for p in processes.values() if p.pid})
        return [(process, resident.get(program)) for program, process in sorted(processes.items())]

    def _setting_list(self) -> list[dict[str, Any]]:
        """Effective settings; only variables of ours, so that nobody's secrets are among them."""
        listed = []
        for field, variable in variables():
            if variable.ignored:
                continue
            name = next((n for n in variable.names if self.environ.get(n, "").strip()), None)
            value = getattr(self.settings, field)
            declared = next(f for f in dataclasses.fields(Settings) if f.name == field).default
            source = "variable" if name else "default" if value == declared else "derived"
            shown = HIDDEN if any(word in field for word in SECRETS) and name else _shown(value)
            listed.append(
                {"variable": name or variable.names[0], "value": shown, "source": source, "doc": variable.doc}
            )
        return listed


def _step(step: Step) -> dict[str, Any]:
    return {
        "requests": step.requests,
        "errors": step.errors,
        "p50": quantile(step, 0.5),
        "p99": quantile(step, 0.99),
        "batch_rows": step.rows / step.batches if step.batches else None,
    }


def _signature(signature: Signature) -> dict[str, Any]:
    return {**dataclasses.asdict(signature), "example": example_request(signature)}


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
