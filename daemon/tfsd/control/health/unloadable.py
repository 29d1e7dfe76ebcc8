"""Versions that a model server cannot load: left out, so that the model's other versions are served.

tensorflow_model_server ends when one version of a model does not load, however good the others are. What it said is
read from the notes about ended processes; the configuration of its next start, which supervisord sees to, names the
good versions only. The embedded server goes on, and its status has the error. A model without any good version is given
up: its model servers are stopped, and the plan says why. Owns these decisions, for single-model
endpoints, and the fields `left_out` and `unloadable` of the plan's models.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping

from tfsd.control.ends import End, end_of
from tfsd.control.supervisor_client import Process, SupervisorClient, SupervisorError
from tfsd.plan import Model, Plan
from tfsd.run_dir import RunDir, replace

PASSING = ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED")

log = logging.getLogger(__name__)


class UnloadableVersions:
    """Looks at the ends of the plan's model servers, and at what they say.

    `available` says whether a model is served just now, `errors` which of its versions a running model server could
    not load, and why.
    """

    def __init__(
        self,
        run_dir: RunDir,
        supervisor: SupervisorClient,
        available: Callable[[Model], bool],
        errors: Callable[[Model], Mapping[str, str]],
    ) -> None:
        self._run_dir = run_dir
        self._supervisor = supervisor
        self._available = available
        self._errors = errors
        self._seen: dict[str, int] = {}  # the pid of the last end of each program

    def processes_seen(self, processes: Mapping[str, Process]) -> None:
        """Leave out what the model servers refused since the last look. A full disk is tried again later."""
        try:
            plan = Plan.load(self._run_dir)
            for model in plan.models.values():
                self._look_at(model, processes)
        except (OSError, ValueError, KeyError, TypeError, SupervisorError) as error:
            log.error("Cannot leave out what does not load: %s.", error)

    def _look_at(self, model: Model, processes: Mapping[str, Process]) -> None:
        if model.unloadable and self._available(model):  # somebody mended it and started it again
            model = dataclasses.replace(model, unloadable="")
            self._save(model)
            log.info("Model %s is served again.", model.name)
        refused = {int(version): reason for version, reason in self._errors(model).items()}
        ends = {server.program: end_of(self._run_dir, server.program) for server in model.servers}
        fresh = {program: end for program, end in ends.items() if end and self._seen.get(program) != end.pid}
        for program, end in fresh.items():
            if not self._is_of_old(program, end, processes):
                refused.update(end.unloadable(model.name))
        model = self._without(model, refused)
        if refused and model.unloadable:
            for program in ends.keys() & processes.keys():
                self._supervisor.stop(processes[program])
        self._seen.update({program: end.pid for program, end in fresh.items()})

    def _is_of_old(self, program: str, end: End, processes: Mapping[str, Process]) -> bool:
        """Whether an earlier control has seen this end: the program runs again, perhaps on a model that was mended.

        Should the process that runs now refuse as well, it ends, and that is an end of its own.
        """
        process = processes.get(program)
        return program not in self._seen and process is not None and process.pid not in (0, end.pid)

    def _without(self, model: Model, refused: Mapping[int, str]) -> Model:
        """The model as it is served when what is refused is left out, as far as that will not pass."""
        bad = {
            version: reason
            for version, reason in refused.items()
            if version in model.versions and not reason.startswith(PASSING)
        }
        if not bad or model.unloadable:
            return model
        left_out = {**model.left_out, **{str(version): reason for version, reason in bad.items()}}
        good = tuple(version for version in model.versions if version not in bad)
        for version, reason in bad.items():
            log.error("Model %s: version %d cannot be loaded: %s.", model.name, version, reason)
        if good:
            changed = dataclasses.replace(model, versions=good, left_out=left_out)
            log.warning(
                "Model %s is served without it. Versions left: %s.", model.name, ", ".join(map(str, good))
            )
        else:  # all are tried again when somebody starts the model server anew
            everything = tuple(sorted({*model.versions, *map(int, model.left_out)}))
            reason = "; ".join(f"version {version}: {text}" for version, text in sorted(left_out.items()))
            changed = dataclasses.replace(model, versions=everything, left_out={}, unloadable=reason)
            log.error("Model %s is given up: none of its versions can be loaded.", model.name)
        from tfsd.stack.design import models_conf  # rendering is rare
        from tfsd.stack.multi_model import models_text

        replace(models_conf(self._run_dir, model.name), models_text([changed]))
        self._save(changed)
        return changed

    def _save(self, model: Model) -> None:
        """Only we change the plan of a single-model endpoint after its start."""
        plan = Plan.load(self._run_dir)
        models = {**plan.models, model.name: model}
        dataclasses.replace(plan, models=models, generation=plan.generation + 1).save(self._run_dir)
