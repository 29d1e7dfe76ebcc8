"""What the status page shows while models come and go."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tfsd.control.health.health import Health
from tfsd.control.health.heartbeat_ages import Heartbeats
from tfsd.control.health.transitions import Transitions
from tfsd.control.metrics.request_counts import RequestCounts
from tfsd.control.metrics.saved_counters import Memory
from tfsd.control.page.recent import RecentRequests
from tfsd.control.page.recent_errors import RecentErrors
from tfsd.control.page.signatures import Signature
from tfsd.control.page.status import Status
from tfsd.plan import DEFAULT_POOL, Model, Plan, Pool
from tfsd.run_dir import RunDir
from tfsd.settings import Settings

DEFAULT = Pool(DEFAULT_POOL, "python", ())
OWN = Pool("own", "python", (), script="/code/inference.py")


class Unloading:
    """In place of the signatures: while the first model's are asked for, all are unloaded."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def of(self, model: Model) -> dict[str, Signature]:
        self._health.set_plan(Plan({}, {DEFAULT_POOL: DEFAULT}))
        return {}

    def forget_all_but(self, models: set[str]) -> None:
        """There are none."""


@pytest.mark.parametrize("pool", [DEFAULT, OWN], ids=["without code", "with code"])
def test_models_that_are_unloaded_meanwhile_are_shown_all_the_same(tmp_path: Path, pool: Pool) -> None:
    health = Health(Heartbeats(1, 1), time.monotonic, needs_models=False, busy_limit=1, load_timeout=1)
    models = {name: Model(name, "/m", (1,), (), pool.name) for name in "ab"}
    health.set_plan(Plan(models, {DEFAULT_POOL: DEFAULT, "own": OWN}))
    signatures: Any = Unloading(health)
    status = Status(
        Settings.from_environ({"SAGEMAKER_MULTI_MODEL": "true"}, cpus=1),
        RunDir(tmp_path),
        health,
        Transitions(time.monotonic),
        Memory(RunDir(tmp_path)),
        RecentRequests(RequestCounts()),
        RecentErrors(),
        signatures,
        dict,
        dict,
        {},
    )
    assert [model["name"] for model in status.document()["models"]] == ["a", "b"]
