"""What /ping is answered from: models and workers under a clock of our own."""

from __future__ import annotations

import logging
import pickle

import pytest

from tfsd.control.health.health import FRESH_SECONDS, Health, VersionState
from tfsd.control.health.heartbeat_ages import Heartbeats
from tfsd.control.health.model_status import VersionStatus
from tfsd.control.supervisor_client import Process
from tfsd.plan import Model, ModelServer, Plan, Pool, Worker

AVAILABLE = [VersionStatus("1", "AVAILABLE")]
BUSY_LIMIT = 65.0


def plan(*, instances: int = 1, workers: int = 1) -> Plan:
    servers = tuple(ModelServer(f"model-m-{n}", 9000 + n, 9100 + n) for n in range(instances))
    pool = Pool("default", "python", tuple(Worker(f"worker-{n}", "socket") for n in range(workers)))
    return Plan({"m": Model("m", "/m", (1,), servers)}, {"default": pool}, "m")


def long_ago(pid: int) -> float:
    """When every process of these tests began."""
    return 0.0


class Endpoint:
    """A Health with a clock that stands still, one worker that beats, and one model server."""

    def __init__(self, the_plan: Plan | None = None, *, needs_models: bool = True) -> None:
        self.now = 1000.0
        self.health = Health(
            Heartbeats(BUSY_LIMIT, 300, long_ago),
            lambda: self.now,
            needs_models=needs_models,
            busy_limit=BUSY_LIMIT,
            load_timeout=300,
        )
        self.health.set_plan(the_plan or plan())

    def beat(self, program: str = "worker-0", state: str = "RUNNING") -> None:
        process = Process(program, state, 10, 0)
        self.health.processes_seen({program: process}, {program: self.now})

    def answer(self, statuses: list[VersionStatus], program: str = "model-m-0") -> None:
        self.health.server_answered("m", program, statuses)

    def fail(self, reason: str, program: str = "model-m-0") -> None:
        self.health.server_failed("m", program, reason)

    @property
    def missing(self) -> list[str]:
        return self.health.missing()


def test_a_model_and_a_worker_make_a_healthy_endpoint() -> None:
    endpoint = Endpoint()
    assert endpoint.missing == [
        "model 'm' is not available (model-m-0: it has not been asked yet)",
        "supervisord does not answer",
        "no worker of pool 'default' is alive",
    ]

    endpoint.beat()
    endpoint.answer(AVAILABLE)

    assert endpoint.missing == []


def test_one_available_version_on_one_instance_is_enough() -> None:
    endpoint = Endpoint(plan(instances=2))
    endpoint.beat()
    endpoint.answer([VersionStatus("1", "END", "broken"), VersionStatus("2", "AVAILABLE")], "model-m-1")
    endpoint.fail("connection refused", "model-m-0")

    assert endpoint.missing == []


def test_a_quick_restart_of_the_model_server_is_not_noticed_and_a_long_one_is() -> None:
    endpoint = Endpoint()
    endpoint.answer(AVAILABLE)

    endpoint.now += FRESH_SECONDS
    endpoint.beat()
    endpoint.fail("no response on port 9000: connection refused")
    assert endpoint.missing == []

    endpoint.now += 0.1
    assert endpoint.missing == [
        "model 'm' is not available (model-m-0: no response on port 9000: connection refused)"
    ]


def test_a_silent_model_server_is_dead_when_it_uses_no_cpu_time() -> None:
    endpoint = Endpoint()
    endpoint.answer(AVAILABLE)

    endpoint.now += FRESH_SECONDS + 1
    endpoint.beat()

    assert endpoint.missing == ["model 'm' is not available (model-m-0: no response for 6 s)"]


def test_a_busy_model_server_is_healthy_up_to_the_request_limit() -> None:
    endpoint = Endpoint()
    endpoint.answer(AVAILABLE)
    for _ in range(int(BUSY_LIMIT)):
        endpoint.now += 1
        endpoint.beat()
        endpoint.health.server_busy("model-m-0")
        assert endpoint.missing == []

    endpoint.now += 1
    endpoint.health.server_busy("model-m-0")
    assert endpoint.missing != []


def test_a_model_server_that_died_while_busy_is_dead() -> None:
    endpoint = Endpoint()
    endpoint.answer(AVAILABLE)
    endpoint.now += 10
    endpoint.beat()
    endpoint.health.server_busy("model-m-0")
    assert endpoint.missing == []

    endpoint.fail("connection reset")

    assert endpoint.missing == ["model 'm' is not available (model-m-0: connection reset)"]


def test_one_living_worker_is_enough_and_none_is_not() -> None:
    endpoint = Endpoint(plan(workers=2))
    endpoint.answer(AVAILABLE)
    endpoint.beat("worker-1")
    assert endpoint.missing == []

    for _ in range(6):
        endpoint.now += 1
        endpoint.answer(AVAILABLE)
        endpoint.beat("worker-1", state="BACKOFF")
    assert endpoint.missing == ["no worker of pool 'default' is alive"]


def test_multi_model_mode_needs_no_model_but_a_worker() -> None:
    endpoint = Endpoint(needs_models=False)
    endpoint.fail("no response")
    assert endpoint.missing == ["no worker of pool 'default' is alive"]

    endpoint.beat()

    assert endpoint.missing == []


def test_many_models_are_asked_less_often_and_stay_available_as_long() -> None:
    models = {f"m{n}": Model(f"m{n}", "/", (1,), (ModelServer(f"model-{n}", 1, 2),)) for n in range(1000)}
    endpoint = Endpoint(Plan(models, {}), needs_models=False)
    assert endpoint.health.poll_interval == 50
    endpoint.health.server_answered("m7", "model-7", AVAILABLE)

    endpoint.now += 54
    assert endpoint.health.available(models["m7"])
    endpoint.now += 2
    assert not endpoint.health.available(models["m7"])
    assert Endpoint(Plan(models, {})).health.poll_interval == 0


def test_models_on_one_model_server_have_states_of_their_own() -> None:
    server = (ModelServer("models-0", 1, 2),)
    models = {name: Model(name, "/", (1,), server) for name in ("m", "n")}
    endpoint = Endpoint(Plan(models, {}), needs_models=False)

    endpoint.health.server_answered("m", "models-0", AVAILABLE)

    assert [endpoint.health.available(model) for model in models.values()] == [True, False]
    assert list(endpoint.health.version_states()) == [VersionState("m", "models-0", "1", "AVAILABLE")]


def test_a_single_model_endpoint_without_plan_or_model_is_not_healthy() -> None:
    health = Health(Heartbeats(1, 1), lambda: 0.0, needs_models=True, busy_limit=1, load_timeout=1)
    assert health.missing() == ["there is no plan.json in the run directory yet"]

    assert Endpoint(Plan({}, {})).missing == ["the plan has no model"]


def test_a_new_plan_keeps_what_is_known() -> None:
    endpoint = Endpoint()
    endpoint.beat()
    endpoint.answer(AVAILABLE)

    endpoint.health.set_plan(plan(instances=2))
    assert endpoint.missing == []

    endpoint.health.set_plan(Plan({}, {}))
    endpoint.answer(AVAILABLE)
    assert list(endpoint.health.version_states()) == []


def test_changes_of_state_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    endpoint = Endpoint()
    for state in ("LOADING", "AVAILABLE", "AVAILABLE"):
        endpoint.answer([VersionStatus("1", state)])
    endpoint.fail("connection refused")
    endpoint.answer([VersionStatus("1", "END", "NOT_FOUND: no file")])

    assert caplog.messages == [
        "Model m version 1 on model-m-0: unknown -> LOADING.",
        "Model m version 1 on model-m-0: LOADING -> AVAILABLE.",
        "Model m version 1 on model-m-0: AVAILABLE -> no response.",
        "Model m version 1 on model-m-0: no response -> END (NOT_FOUND: no file).",
    ]


def test_a_model_that_does_not_load_in_time_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    endpoint = Endpoint()
    for _ in range(400):
        endpoint.now += 1
        endpoint.answer([VersionStatus("1", "END", "NOT_FOUND: no variables")])
        endpoint.health.report_overdue()

    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == [
        "Model m is not available after 300 s (model-m-0: version 1 is END (NOT_FOUND: no variables))."
    ]


def test_nothing_is_kept_of_models_that_have_gone() -> None:
    """Models of a multi-model endpoint come and go for months."""
    endpoint = Endpoint(needs_models=False)
    empty = Plan({}, {})
    endpoint.health.set_plan(empty)
    size = len(pickle.dumps(endpoint.health.__dict__ | {"_clock": None}))
    for number in range(10):
        pool = Pool(f"own-{number}", "python", (Worker(f"worker-{number}", "socket"),))
        server = ModelServer(f"model-{number}", 1, 2)
        model = Model(f"m{number}", "/m", (1,), (server,), pool.name)
        endpoint.health.set_plan(Plan({model.name: model}, {pool.name: pool}))
        endpoint.beat(f"worker-{number}")
        endpoint.health.server_answered(model.name, server.program, AVAILABLE)
    endpoint.health.set_plan(empty)
    assert len(pickle.dumps(endpoint.health.__dict__ | {"_clock": None})) < size + 100
