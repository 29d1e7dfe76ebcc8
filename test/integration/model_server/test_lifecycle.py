"""Versions that come and go while requests run: nothing fails, and the status tells what happened."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

State = get_model_status_pb2.ModelVersionStatus.State


class Client:
    """The verbs that these tests need, on one server."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self._model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(self, model: str, version: int | None = None, label: str | None = None) -> tuple[float, int]:
        """Send x = 1; returns y and the version that computed it."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        if version is not None:
            request.model_spec.version.value = version
        if label is not None:
            request.model_spec.version_label = label
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([1.0], np.float32)))
        response = self._prediction.Predict(request, timeout=30)
        return tf.make_ndarray(response.outputs["y"])[0], response.model_spec.version.value

    def code(self, model: str, version: int | None = None) -> str:
        try:
            self.predict(model, version)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"

    def slow(self, rounds: int) -> grpc.Future:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "errors"
        request.model_spec.signature_name = "slow"
        request.inputs["n"].CopyFrom(tf.make_tensor_proto(np.array([rounds], np.int32)))
        return self._prediction.Predict.future(request, timeout=60)

    def states(self, model: str) -> dict[int, str]:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        status = self._model.GetModelStatus(request, timeout=30).model_version_status
        return {entry.version: State.Name(entry.state) for entry in status}

    def status(self, model: str, version: int) -> Any:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        request.model_spec.version.value = version
        return self._model.GetModelStatus(request, timeout=30).model_version_status[0]

    def reload(self, seconds: float = 60, **base_paths: Path) -> None:
        request = model_management_pb2.ReloadConfigRequest()
        request.config.model_config_list.SetInParent()
        for name, path in base_paths.items():
            request.config.model_config_list.config.add(
                name=name, base_path=str(path), model_platform="tensorflow"
            )
        self._model.HandleReloadConfigRequest(request, timeout=seconds)


def wait_for(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def add_version(source: Path, directory: Path) -> None:
    """Publish a version at once, as a deployment does: copy beside, then rename."""
    partial = directory.parent / f"partial-{directory.name}"
    shutil.copytree(source, partial)
    partial.rename(directory)


@pytest.fixture
def base(tmp_path: Path, models: Any) -> Path:
    """A model directory with version 1: y = 0.5 x + 2, so y = 2.5."""
    base = tmp_path / "model"
    base.mkdir()
    add_version(models / "half_plus_two" / "123", base / "1")
    return base


def test_a_new_version_replaces_the_old_one_under_load_without_a_failed_request(
    start_server: Any, base: Any, models: Any
) -> None:
    client = Client(start_server("--model_name=m", f"--model_base_path={base}").address)
    stop = threading.Event()

    def keep_asking() -> set[tuple[float, int]]:
        answers = set()
        while not stop.is_set():
            answers.add(client.predict("m"))
        return answers

    with ThreadPoolExecutor(4) as pool:
        askers = [pool.submit(keep_asking) for _ in range(4)]
        wait_for(lambda: client.states("m") == {1: "AVAILABLE"}, "version 1")
        add_version(models / "half_plus_two" / "124", base / "2")
        wait_for(lambda: client.states("m") == {2: "AVAILABLE", 1: "END"}, "version 2 instead of 1")
        stop.set()
        answers = set().union(*(asker.result() for asker in askers))
    assert answers == {(2.5, 1), (3.5, 2)}


def test_a_version_in_use_is_unloaded_only_after_its_request_is_answered(
    start_server: Any, tmp_path: Path, models: Any
) -> None:
    base = tmp_path / "errors"
    base.mkdir()
    add_version(models / "errors" / "1", base / "1")
    client = Client(start_server("--model_name=errors", f"--model_base_path={base}").address)
    running = client.slow(300_000)
    add_version(models / "errors" / "1", base / "2")
    wait_for(lambda: client.states("errors").get(2) == "AVAILABLE", "version 2")
    assert client.states("errors")[1] == "UNLOADING"
    assert running.result().model_spec.version.value == 1
    wait_for(lambda: client.states("errors")[1] == "END", "version 1 to be unloaded")


def test_a_broken_version_leaves_the_old_one_serving_and_stays_listed(
    start_server: Any, base: Any, models: Any
) -> None:
    server = start_server("--model_name=m", f"--model_base_path={base}", "--max_num_load_retries=0")
    client = Client(server.address)
    add_version(models / "bad_model" / "1", base / "3")
    wait_for(lambda: client.states("m") == {3: "END", 1: "AVAILABLE"}, "version 3 to fail")
    failed = client.status("m", 3).status
    assert failed.error_message == f"Can't parse {base}/3/saved_model.pb as binary proto"
    assert failed.error_code == 15
    assert "Loading servable: {name: m version: 3} failed: DATA_LOSS: Can't parse" in server.log()
    assert client.predict("m") == (2.5, 1)
    assert client.code("m", 3) == "NOT_FOUND"

    shutil.rmtree(base / "3")
    shutil.rmtree(base / "1")
    wait_for(lambda: client.states("m") == {3: "END", 1: "END"}, "version 1 to go")
    assert client.code("m") == "NOT_FOUND"
    assert client.status("m", 3).status.error_code == 15

    add_version(models / "half_plus_two" / "124", base / "3")
    wait_for(lambda: client.states("m") == {3: "AVAILABLE", 1: "END"}, "a repaired version 3")
    assert client.predict("m") == (3.5, 3)


def test_a_failed_load_is_tried_again(start_server: Any, base: Any, models: Any) -> None:
    server = start_server(
        "--model_name=m", f"--model_base_path={base}", "--load_retry_interval_micros=200000"
    )
    client = Client(server.address)
    add_version(models / "bad_model" / "1", base / "2")
    server.wait_for_log("{name: m version: 2} failed: DATA_LOSS")
    assert client.states("m") == {2: "LOADING", 1: "AVAILABLE"}
    shutil.copytree(models / "half_plus_two" / "124", base / "2", dirs_exist_ok=True)
    wait_for(lambda: client.states("m") == {2: "AVAILABLE", 1: "END"}, "version 2 after its repair")


def test_reload_by_grpc_adds_and_drops_models(start_server: Any, base: Any, models: Any) -> None:
    client = Client(start_server("--model_name=m", f"--model_base_path={base}").address)
    client.reload(m=base, other=models / "half_plus_three")
    assert client.predict("other") == (3.5, 1)
    assert client.predict("m") == (2.5, 1)
    client.reload(other=models / "half_plus_three")
    wait_for(lambda: client.code("m") == "NOT_FOUND", "model m to go")
    wait_for(lambda: client.states("m") == {1: "END"}, "model m to be unloaded")


def test_a_reload_whose_model_cannot_be_loaded_says_so(start_server: Any, base: Any, models: Any) -> None:
    client = Client(
        start_server("--model_name=m", f"--model_base_path={base}", "--max_num_load_retries=0").address
    )
    with pytest.raises(grpc.RpcError) as failure:
        client.reload(m=base, bad=models / "bad_model")
    assert failure.value.code() is grpc.StatusCode.UNKNOWN
    assert failure.value.details() == (
        "1 model(s) did not become available: {{{name: bad version: 1} due to error: DATA_LOSS: Can't parse "
        f"{models}/bad_model/1/saved_model.pb as binary proto}}, }}"
    )
    assert client.predict("m") == (2.5, 1)


def test_a_bad_version_beside_a_good_one_ends_the_start_unless_told_otherwise(
    start_server: Any, base: Any, models: Any
) -> None:
    add_version(models / "bad_model" / "1", base / "2")
    config = base / "models.config"
    config.write_text(config_text("all {}", "", base))
    flags = (f"--model_config_file={config}", "--max_num_load_retries=0")
    server = start_server(*flags, wait=False)
    server.wait_for_log(
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {{{name: m version: 2} "
        f"due to error: DATA_LOSS: Can't parse {base}/2/saved_model.pb as binary proto}}, }}"
    )
    assert server.stop() == 255

    client = Client(start_server(*flags, "--start_despite_load_errors").address)
    assert client.states("m") == {2: "END", 1: "AVAILABLE"}
    assert client.status("m", 2).status.error_code == 15
    assert client.predict("m") == (2.5, 1)


def test_a_version_that_will_be_tried_again_does_not_hold_up_the_start(
    start_server: Any, base: Any, models: Any
) -> None:
    # the real server's own way to start beside a version that cannot be loaded
    add_version(models / "bad_model" / "1", base / "2")
    config = base / "models.config"
    config.write_text(config_text("all {}", "", base))
    again = ("--max_num_load_retries=1", "--load_retry_interval_micros=1000000000")
    client = Client(start_server(f"--model_config_file={config}", *again).address)
    assert client.states("m") == {2: "LOADING", 1: "AVAILABLE"}
    assert client.predict("m") == (2.5, 1)


def test_a_model_of_which_nothing_can_be_loaded_is_listed_with_its_error(
    start_server: Any, models: Any
) -> None:
    client = Client(
        start_server(
            "--model_name=m",
            f"--model_base_path={models}/bad_model",
            "--max_num_load_retries=0",
            "--start_despite_load_errors",
        ).address
    )
    assert client.states("m") == {1: "END"}
    assert client.status("m", 1).status.error_message.startswith("Can't parse")
    assert client.code("m") == "NOT_FOUND"
    with pytest.raises(grpc.RpcError):  # the start is lenient; whoever asks for a model is told
        client.reload(other=models / "bad_model")


def test_an_interval_of_zero_finds_no_model_that_comes_later(
    start_server: Any, base: Any, models: Any
) -> None:
    server = start_server("--model_name=m", f"--model_base_path={base}", "--file_system_poll_wait_seconds=0")
    client = Client(server.address)
    with pytest.raises(grpc.RpcError) as failure:
        client.reload(seconds=1, m=base, other=models / "half_plus_three")
    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert client.code("other") == "NOT_FOUND"
    client.reload(m=base)
    add_version(models / "half_plus_two" / "124", base / "2")
    client.reload(m=base)
    assert client.states("m") == {1: "AVAILABLE"}


def test_a_model_can_be_loaded_again_while_it_is_being_unloaded(
    start_server: Any, tmp_path: Path, models: Any
) -> None:
    base = tmp_path / "errors"
    base.mkdir()
    add_version(models / "errors" / "1", base / "1")
    server = start_server("--model_name=errors", f"--model_base_path={base}")
    client = Client(server.address)
    running = server.wait_until_busy(lambda: client.slow(100_000))
    client.reload()
    wait_for(lambda: client.states("errors") == {1: "UNLOADING"}, "the model to go")
    client.reload(errors=base)
    assert client.states("errors") == {1: "AVAILABLE"}
    assert running.result().model_spec.version.value == 1


def config_text(versions: str, labels: str, base: Path) -> str:
    return (
        f"model_config_list {{ config {{ name: 'm' base_path: '{base}' model_platform: 'tensorflow' "
        f"model_version_policy {{ {versions} }} {labels} }} }}"
    )


def test_reload_by_config_file_polling_moves_labels(
    start_server: Any, base: Any, models: Any, tmp_path: Path
) -> None:
    add_version(models / "half_plus_two" / "124", base / "2")
    file = tmp_path / "models.config"
    file.write_text(config_text("specific { versions: 1 }", "", base))
    server = start_server(f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=1")
    client = Client(server.address)
    assert client.states("m") == {1: "AVAILABLE"}
    file.write_text("nonsense")
    server.wait_for_log("Invalid protobuf file")
    labels = "version_labels { key: 'canary' value: 2 }"
    replacement = tmp_path / "replacement"
    replacement.write_text(config_text("all {}", labels, base))
    os.replace(replacement, file)
    # the label is refused until version 2 serves: without the label, then with it
    server.wait_for_log("Request to assign label to version 2 of model m")
    replacement.write_text(config_text("all {}", "", base))
    os.replace(replacement, file)
    wait_for(lambda: client.states("m") == {2: "AVAILABLE", 1: "AVAILABLE"}, "both versions")
    replacement.write_text(config_text("all {}", labels, base))
    os.replace(replacement, file)

    def labelled() -> bool:
        try:
            return client.predict("m", label="canary") == (3.5, 2)
        except grpc.RpcError:
            return False

    wait_for(labelled, "the label")


def test_sigterm_lets_a_request_in_flight_finish(start_server: Any, models: Any) -> None:
    server = start_server("--model_name=errors", f"--model_base_path={models}/errors")
    client = Client(server.address)
    running = server.wait_until_busy(lambda: client.slow(100_000))
    os.kill(server.pid, signal.SIGTERM)
    assert running.result().model_spec.name == "errors"
    assert server.stop() == 0
    assert server.log().rstrip().endswith("Stopped")
