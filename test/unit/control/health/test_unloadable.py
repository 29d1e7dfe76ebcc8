"""Versions that a model server refuses are left out of its next start, and of the plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from tfsd.control.health.unloadable import UnloadableVersions
from tfsd.control.supervisor_client import Process, SupervisorClient
from tfsd.plan import Model, ModelServer, Plan
from tfsd.run_dir import RunDir, replace
from tfsd.stack.design import models_conf


class SupervisorStub:
    def __init__(self) -> None:
        self.stopped: list[str] = []

    def stop(self, process: Process) -> None:
        self.stopped.append(process.program)


class Stack:
    """A model `m m` on two model servers, whose ends are noted as supervisord does."""

    def __init__(self, run_dir: RunDir, *versions: int) -> None:
        run_dir.make(multi_model=False)
        self.run_dir = run_dir
        self.available = False
        self.supervisor = SupervisorStub()
        servers = tuple(ModelServer(f"model-{number}", number, 10 + number) for number in range(2))
        Plan({"m m": Model("m m", "/m", versions, servers)}, {}, "m m").save(run_dir)
        self.errors: dict[str, str] = {}
        self.pid = 0
        self.restart_control()

    def restart_control(self) -> None:
        self.unloadable = UnloadableVersions(
            self.run_dir,
            cast(SupervisorClient, self.supervisor),
            lambda model: self.available,
            lambda model: self.errors,
        )

    def end(self, pid: int, refused: dict[int, str], program: str = "model-0", code: int = 255) -> None:
        listed = ", ".join(
            f"{{{{name: m m version: {n}}} due to error: {text}}}" for n, text in refused.items()
        )
        said = (
            f"Failed to start server. Error: UNKNOWN: n servable(s) did not become available: {{{listed}, }}"
        )
        replace(self.run_dir.end(program), json.dumps({"pid": pid, "code": code, "said": said}))
        self.look()

    def look(self) -> None:
        programs, state = ("model-0", "model-1"), "RUNNING" if self.pid else "BACKOFF"
        self.unloadable.processes_seen(
            {program: Process(program, state, self.pid, 0) for program in programs}
        )

    @property
    def model(self) -> Model:
        return Plan.load(self.run_dir).models["m m"]

    @property
    def configured(self) -> list[int]:
        text = models_conf(self.run_dir, "m m").read_text()
        [config] = text_format.Parse(text, ModelServerConfig()).model_config_list.config
        return list(config.model_version_policy.specific.versions)


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(RunDir(tmp_path), 1, 2, 3)


def test_a_version_that_does_not_load_is_left_out_and_the_others_are_served(stack: Stack) -> None:
    stack.end(100, {2: "DATA_LOSS: broken"})
    assert stack.configured == [1, 3]
    assert (stack.model.versions, stack.model.left_out) == ((1, 3), {"2": "DATA_LOSS: broken"})
    stack.end(101, {3: "NOT_FOUND: no variables"}, "model-1")
    assert stack.configured == [1]
    assert stack.model.left_out == {"2": "DATA_LOSS: broken", "3": "NOT_FOUND: no variables"}
    assert stack.supervisor.stopped == []


def test_a_model_without_a_good_version_is_given_up_and_its_model_servers_stop(stack: Stack) -> None:
    stack.end(100, {2: "DATA_LOSS: broken"})
    stack.end(101, {1: "DATA_LOSS: one", 3: "DATA_LOSS: three"})
    assert "version 1: DATA_LOSS: one" in stack.model.unloadable
    assert "version 2: DATA_LOSS: broken" in stack.model.unloadable
    assert stack.configured == [1, 2, 3]  # for whoever mends them and starts the model server
    assert sorted(stack.supervisor.stopped) == ["model-0", "model-1"]
    stack.look()
    assert len(stack.supervisor.stopped) == 2
    stack.end(102, {3: "DATA_LOSS: broken"})  # somebody started it again, and it is no better
    assert len(stack.supervisor.stopped) == 4

    stack.available = True
    stack.look()
    assert stack.model.unloadable == ""


@pytest.mark.parametrize("available", [True, False], ids=["known to serve", "not asked yet"])
def test_a_model_that_somebody_mended_stays_when_control_is_restarted(stack: Stack, available: bool) -> None:
    stack.end(100, dict.fromkeys((1, 2, 3), "DATA_LOSS: broken"))
    stack.supervisor.stopped.clear()
    stack.pid, stack.available = 200, True  # mended, and started by hand
    stack.look()
    assert stack.model.unloadable == ""
    stack.available = available
    stack.restart_control()
    stack.look()
    assert (stack.model.unloadable, stack.supervisor.stopped) == ("", [])
    stack.end(200, {2: "DATA_LOSS: broken again"})
    assert stack.model.versions == (1, 3)


def test_a_model_of_which_somebody_mended_a_version_is_served_without_the_others(stack: Stack) -> None:
    stack.errors = dict.fromkeys("123", "DATA_LOSS: broken")
    stack.look()
    stack.supervisor.stopped.clear()
    stack.errors = dict.fromkeys("13", "DATA_LOSS: broken")
    stack.pid, stack.available = 200, True
    stack.look()
    assert (stack.model.unloadable, stack.supervisor.stopped) == ("", [])
    assert (stack.configured, stack.model.left_out) == ([2], stack.errors)


def test_a_model_server_that_goes_on_is_stopped_when_it_has_nothing_to_serve(stack: Stack) -> None:
    stack.errors = {"2": "DATA_LOSS: broken"}
    stack.look()
    stack.look()
    assert (stack.configured, stack.model.left_out) == ([1, 3], stack.errors)
    assert stack.supervisor.stopped == []
    stack.errors = dict.fromkeys("123", "DATA_LOSS: broken")
    stack.look()
    assert "version 3: DATA_LOSS: broken" in stack.model.unloadable
    assert sorted(stack.supervisor.stopped) == ["model-0", "model-1"]


@pytest.mark.parametrize(
    ("reason", "code"),
    [("RESOURCE_EXHAUSTED: no memory", 255), ("UNAVAILABLE: later", 255), ("DATA_LOSS: broken", -9)],
)
def test_what_may_pass_is_tried_again(stack: Stack, reason: str, code: int) -> None:
    stack.end(100, {2: reason}, code=code)
    assert stack.model.versions == (1, 2, 3)
    assert not models_conf(stack.run_dir, "m m").exists()
