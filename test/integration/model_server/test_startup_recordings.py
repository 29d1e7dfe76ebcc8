"""Replays the recorded command lines: exit codes, readiness and the text that says what is wrong.

Every case runs the real `main` in a fork of one process that has TensorFlow loaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
RECORDINGS = ROOT / "test" / "resources" / "model_server" / "startup.jsonl"
CASES = {case["name"]: case for case in map(json.loads, RECORDINGS.read_text().splitlines())}
SECONDS = 30

#: What the recorded files held, as their names' cases tell.
FILES = {
    "batching": "max_batch_size { value: 4 } allowed_batch_sizes: 2 allowed_batch_sizes: 4",
    "badbatch": "max_batch_size: 5",
    "b1": "max_batch_size { value: 8 } allowed_batch_sizes: 2 allowed_batch_sizes: 4",
    "b2": "max_batch_size { value: 4 } allowed_batch_sizes: 4 allowed_batch_sizes: 2",
    "c1": "this is no config",
    "c2": "",
    "c3": "model_config_list {}",
    "c4": "model_config_list { config { name: 'a' base_path: 'MODELS/half_plus_two' model_platform: 'tensorflow' } "
    "config { name: 'a' base_path: 'MODELS/half_plus_three' model_platform: 'tensorflow' } }",
    "c5": "model_config_list { config { name: 'a' base_path: 'MODELS/half_plus_two' } }",
    "c6": "model_config_list { config { name: 'a' base_path: 'MODELS/half_plus_two' model_platform: 'pytorch' } }",
    "c7": "model_config_list { config { name: 'a' model_platform: 'tensorflow' } }",
    "c8": "model_config_list { config { base_path: 'MODELS/half_plus_two' model_platform: 'tensorflow' } }",
    "c9": "model_config_list { config { name: 'a' base_path: 'MODELS/half_plus_two' model_platform: 'tensorflow' "
    "model_version_policy { specific { versions: 123 } } version_labels { key: 'stable' value: 123 } } }",
    "c10": "model_config_list { config { name: 'a' base_path: 'MODELS/half_plus_two' model_platform: 'tensorflow' "
    "model_version_policy { specific { versions: 999 } } } }",
    "c11": "model_config_list { config { name: 'a' base_path: 'MODELS/half_plus_two' model_platform: 'tensorflow' "
    "model_version_policy { specific { versions: 123 versions: 999 } } } }",
    "c12": "model_config_list { config { name: 'a' base_path: 'MODELS/half_plus_two' model_platform: 'tensorflow' "
    "model_version_policy { latest { num_versions: 0 } } } }",
    "c13": "model_config_list { config { name: 'a' base_path: 'MODELS/half_plus_two' model_platform: 'tensorflow' } "
    "config { name: 'b' base_path: 'MODELS/bad_model' model_platform: 'tensorflow' } }",
    "c14": "model_config_list { config { name: 'a' base_path: 'MODELS/half_plus_two' model_platform: 'tensorflow' } }",
    "m1": "foo: 1",
}
#: case -> the exit code that we want instead of the recorded one, and why.
BETTER_EXITS = {
    "sigterm": (0, "requests in flight are finished first"),
    "bad_grpc_args": (255, "the real server crashes"),
    "monitoring_bad": (255, "the real server hangs without a REST port"),
}
#: case -> what the log says while a server waits for a model that cannot be loaded yet.
WAITING = {
    "missing_base_path": "Could not find base path WORK/nope for servable m with error NOT_FOUND",
    "empty_base_path": "No versions of servable m found under base path MODELS/empty_model",
    "bad_model_default_retries": "failed: DATA_LOSS: Can't parse MODELS/bad_model/1/saved_model.pb as binary proto",
    "batching_allowed_sizes_bad": "last entry was 4; expected 8",
    "batching_allowed_sizes_unsorted": "last entry was 2; expected 4",
    "config_specific_missing_version": "Version 999 of servable a, which was requested",
}


class Run:
    """One command line, run on free ports with the test's own files."""

    def __init__(self, name: str, start_fork: Any, models: Path, directory: Path) -> None:
        self._replacements = {"MODELS": str(models), "CFG": str(directory), "WORK": str(directory / "work")}
        self.port, self.rest_port = _free_port(), _free_port()
        for file, text in FILES.items():
            (directory / f"{file}.config").write_text(self.own(text))
        self.flags = [self.own(flag) for flag in CASES[name]["flags"]]
        self._start = start_fork
        self._output = directory / "output"

    def own(self, text: str) -> str:
        """A recorded text with this run's ports and directories."""
        for placeholder, path in self._replacements.items():
            text = text.replace(f"{placeholder}/", f"{path}/")
        return text.replace("28810", str(self.port)).replace("28811", str(self.rest_port))

    def start(self) -> None:
        self._fork = self._start(self.flags, self._output)

    @property
    def output(self) -> str:
        return self._output.read_text()

    def exit_code(self) -> int | None:
        return self._fork.exit_code()

    def wait_for_exit(self) -> int:
        return _wait(self.exit_code, lambda code: code is not None, self)

    def wait_for_output(self, text: str) -> None:
        _wait(lambda: self.output, lambda output: text in output, self)

    def signal(self, number: int) -> None:
        os.kill(self._fork.pid, number)

    def listens(self, port: int) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0


def _wait(get: Any, is_good: Any, run: Run) -> Any:
    deadline = time.monotonic() + SECONDS
    while not is_good(found := get()):
        assert time.monotonic() < deadline, f"waited in vain; output:\n{run.output}"
        time.sleep(0.02)
    return found


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture
def run(request: Any, start_fork: Any, models: Any, tmp_path: Path) -> Any:
    return Run(request.param, start_fork, models, tmp_path)


def names(condition: Any) -> list[str]:
    return [name for name, case in CASES.items() if condition(name, case)]


SIGNALS = {"sigterm": signal.SIGTERM, "sigint": signal.SIGINT}
EXITS = names(
    lambda name, case: (case["exited"] and name not in SIGNALS) or name in BETTER_EXITS.keys() - SIGNALS
)
#: listening on a fixed port would get in the way of others; see test_arguments_that_are_no_flags
FIXED_PORT = ("single_dash_flag", "flag_space_value")
TAKEN = ("rest_port_taken", "grpc_port_taken")
SERVES = names(
    lambda name, case: name not in (*EXITS, *WAITING, *FIXED_PORT, *TAKEN, *SIGNALS) and not case["exited"]
)


@pytest.mark.parametrize("run", [name for name in EXITS if name not in TAKEN], indirect=True)
def test_ends_with_the_recorded_code_and_reason(run: Any, request: Any) -> None:
    name = request.node.callspec.params["run"]
    run.start()
    code = run.wait_for_exit()
    case = CASES[name]
    assert code == BETTER_EXITS.get(name, (case["exit_code"],))[0]
    reason = case["output_tail"].splitlines()[-1]
    if reason.startswith("Failed to start server."):
        assert run.own(reason) in run.output.splitlines()  # another model may have been loaded a moment later


def test_better_exits_say_why(run_of: Any) -> None:
    monitoring = run_of("monitoring_bad")
    assert "INVALID_ARGUMENT: Invalid protobuf file" in monitoring
    assert 'no field named "foo"' in monitoring
    assert "--grpc_channel_arguments takes name=value pairs" in run_of("bad_grpc_args")


@pytest.fixture
def run_of(start_fork: Any, models: Any, tmp_path: Path) -> Any:
    def output(name: str) -> str:
        run = Run(name, start_fork, models, tmp_path)
        run.start()
        run.wait_for_exit()
        return run.output

    return output


@pytest.mark.parametrize("run", SERVES, indirect=True)
def test_opens_its_ports(run: Any, request: Any) -> None:
    run.start()
    run.wait_for_output(f"Running gRPC ModelServer at 127.0.0.1:{run.port} ...")
    assert run.listens(run.port)
    case = CASES[request.node.callspec.params["run"]]
    if case["rest_port_opened_after_s"] is not None and "--rest_api_port=28811" in case["flags"]:
        run.wait_for_output(f"Exporting HTTP/REST API at:localhost:{run.rest_port} ...")
        assert run.listens(run.rest_port)
    else:
        assert not run.listens(run.rest_port)
    if case["name"] == "same_port":
        run.wait_for_output("Skipped exporting HTTP/REST API.")
    assert run.exit_code() is None


@pytest.mark.parametrize("run", WAITING, indirect=True)
def test_waits_with_closed_ports_and_says_for_what(run: Any, request: Any) -> None:
    run.start()
    run.wait_for_output(run.own(WAITING[request.node.callspec.params["run"]]))
    assert run.exit_code() is None
    assert not run.listens(run.port)
    run.signal(signal.SIGTERM)
    assert run.wait_for_exit() == 0


@pytest.mark.parametrize("run", SIGNALS, indirect=True)
def test_signals(run: Any, request: Any) -> None:
    name = request.node.callspec.params["run"]
    run.start()
    run.wait_for_output(f"Running gRPC ModelServer at 127.0.0.1:{run.port} ...")
    run.signal(SIGNALS[name])
    assert run.wait_for_exit() == BETTER_EXITS.get(name, (CASES[name]["exit_code"],))[0]


@pytest.mark.parametrize("run", FIXED_PORT, indirect=True)
def test_arguments_that_are_no_flags(run: Any) -> None:
    first = run.flags[0]
    run.flags.append(f"--port={run.port}")
    run.start()
    run.wait_for_output("Running gRPC ModelServer")
    assert run.output.startswith(f"unknown argument: {first}\nusage: ")


@contextlib.contextmanager
def listening(port: int) -> Iterator[None]:
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", port))
        sock.listen()
        yield


@pytest.mark.parametrize("run", ["grpc_port_taken"], indirect=True)
def test_grpc_port_taken(run: Any) -> None:
    with listening(run.port):
        run.start()
        assert run.wait_for_exit() == 255
    expected = "Failed to start server. Error: INVALID_ARGUMENT: Failed to BuildAndStart gRPC server"
    assert run.output.splitlines()[-1] == expected


@pytest.mark.parametrize("run", ["rest_port_taken"], indirect=True)
def test_rest_port_taken(run: Any) -> None:
    with listening(run.rest_port):
        run.start()
        run.wait_for_output(f"Failed to start HTTP Server at localhost:{run.rest_port}")
        assert run.listens(run.port)
        assert run.exit_code() is None


def test_every_recorded_case_is_replayed() -> None:
    assert set(CASES) == {*EXITS, *SERVES, *WAITING, *FIXED_PORT, *TAKEN, *SIGNALS}
