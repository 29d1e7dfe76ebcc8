"""Replays what a real tensorflow_model_server answered over REST: status, content type and JSON must be equal."""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

RECORDINGS = Path(__file__).parents[2] / "resources" / "model_server" / "golden_rest.jsonl"
TIMEOUT = 30.0
Case = dict[str, Any]

CASES: dict[str, Case] = {case["name"]: case for case in map(json.loads, RECORDINGS.read_text().splitlines())}
#: Cases that need changes of the model's directory, and those about metrics, have tests of their own below.
BY_HAND = ("dyn_", "noretry_", "prom_")
#: case -> why it may differ.
EXCEPTIONS = {
    "json_rank_254": "NumPy arrays have at most 64 dimensions; beyond, the answer is that for more than 254",
    "batch_zero": "the real server never answers an empty batch under batching",
}
#: Cases in which either of two nodes fails first, as TensorFlow's threads have it.
EITHER_NODE = {"multi_col_batch_mismatch2": re.compile(rb"{{node (add|mul)}}")}


@dataclass
class Answer:
    """What came back; `headers` have their names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def request_bytes(case: Case, port: int) -> bytes:
    """The raw HTTP request of a case."""
    if "request_raw" in case:
        return case["request_raw"].encode()
    if "request_raw_b64" in case:
        return base64.b64decode(case["request_raw_b64"])
    body = request_body(case)
    headers = {"Host": f"127.0.0.1:{port}", "Connection": "close"} | case["request_headers"]
    framed = {"Content-Length", "Transfer-Encoding"} & headers.keys()
    if not framed and (body or case["method"] in ("POST", "PUT", "PATCH")):
        headers["Content-Length"] = str(len(body))
    lines = [f"{case['method']} {case['path']} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def request_body(case: Case) -> bytes:
    if "request_body_gen" in case:
        parts = case["request_body_gen"]
        text = parts["prefix"] + parts["sep"].join([parts["unit"]] * parts["count"]) + parts["suffix"]
        return text.encode()
    if "request_body_b64" in case:
        return base64.b64decode(case["request_body_b64"])
    return case["request_body"].encode()


def recorded_body(case: Case) -> bytes:
    if "response_body_b64" in case:
        return base64.b64decode(case["response_body_b64"])
    return case["response_body"].encode()


def send(port: int, raw: bytes) -> Answer:
    """Send one raw request whose answer ends the connection."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as sock:
        sock.sendall(raw)
        received = bytearray()
        while piece := sock.recv(1 << 20):
            received += piece
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    return Answer(int(lines[0].split()[1]), headers, body)


def same_body(got: bytes, want: bytes) -> bool:
    """Equal as JSON (key order, blanks and the decimal form of floats are free), or as bytes."""
    try:
        return same_json(json.loads(got), json.loads(want))
    except (ValueError, RecursionError):
        return got == want


def same_json(got: Any, want: Any) -> bool:
    if isinstance(got, dict) and isinstance(want, dict):
        return got.keys() == want.keys() and all(same_json(got[key], want[key]) for key in got)
    if isinstance(got, list) and isinstance(want, list):
        return len(got) == len(want) and all(map(same_json, got, want))
    if type(got) is float and type(want) is float:
        return same_float(got, want)
    return type(got) is type(want) and got == want


def same_float(got: float, want: float) -> bool:
    if got == want or (got != got and want != want):
        return True
    try:
        return struct.pack("f", got) == struct.pack("f", want)
    except OverflowError:
        return False


def check(case: Case, port: int) -> Answer:
    """Send a case's request and hold the answer against the recorded one."""
    answer = send(port, request_bytes(case, port))
    recorded = {name.lower(): value for name, value in case["response_headers"].items()}
    names = [name for name in recorded if name not in ("date", "content-length")]
    assert answer.status == case["status"], answer.body[:500]
    assert {name: answer.headers.get(name) for name in names} == {name: recorded[name] for name in names}
    if case["stable_json"] and ("response_body" in case or "response_body_b64" in case):
        want = recorded_body(case)
        if case["name"] in EITHER_NODE:
            found = EITHER_NODE[case["name"]].search(answer.body)
            assert found, answer.body
            want = EITHER_NODE[case["name"]].sub(found[0], want)
        assert same_body(answer.body, want), f"got {answer.body[:1000]!r}\nwant {want[:1000]!r}"
    return answer


def group_flags(group: str, models: Path, directory: Path) -> list[str]:
    """The flags with which a group was recorded."""
    many = [
        f"--model_config_file={models}/models.config",
        "--allow_version_labels_for_unavailable_models=true",
    ]
    one = ["--model_name=half_plus_two", f"--model_base_path={models}/half_plus_two"]
    if group == "batching":
        file = directory / "batching.conf"
        file.write_text("max_batch_size { value: 4 } allowed_batch_sizes: 2 allowed_batch_sizes: 4")
        return [*many, "--enable_batching", f"--batching_parameters_file={file}"]
    if group == "cors_prometheus":
        file = directory / "monitoring.conf"
        file.write_text("prometheus_config { enable: true }")
        return [*one, "--rest_api_enable_cors_support", f"--monitoring_config_file={file}"]
    return {
        "default": [*many, "--file_system_poll_wait_seconds=1"],
        "sigcheck": [*one, "--enable_signature_method_name_check"],
        "timeout100": [
            "--model_name=errors",
            f"--model_base_path={models}/errors",
            "--rest_api_timeout_in_ms=100",
        ],
    }[group]


#: Group -> REST port of a server with its flags.
PortOf = Callable[[str], int]


@pytest.fixture(scope="module")
def port_of(
    models: Path, start_server: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PortOf]:
    """Starts the server of a group when the first test asks for it."""
    servers: dict[str, Any] = {}

    def port(group: str) -> int:
        if group not in servers:
            flags = group_flags(group, models, tmp_path_factory.mktemp("group"))
            servers[group] = start_server(*flags, rest=True)
        return servers[group].rest_port

    yield port
    for server in servers.values():
        server.stop()


REPLAYABLE = [name for name in CASES if not name.startswith(BY_HAND) and name not in EXCEPTIONS]


@pytest.mark.parametrize("name", REPLAYABLE)
def test_answers_as_recorded(port_of: PortOf, name: str) -> None:
    check(CASES[name], port_of(CASES[name]["server"]))


def test_an_empty_batch_is_answered_under_batching(port_of: PortOf) -> None:
    port = port_of("batching")
    answer = send(port, request_bytes(CASES["batch_zero"], port))

    assert answer.status == 200
    assert json.loads(answer.body) == {"outputs": []}


def test_more_dimensions_than_an_array_has_are_refused_as_too_many(port_of: PortOf) -> None:
    port = port_of("default")
    answer = send(port, request_bytes(CASES["json_rank_254"], port))

    assert answer.status == 400
    assert json.loads(answer.body) == {"error": "tensor parsing error: x"}


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("prom_")])
def test_metrics_are_served_as_recorded(port_of: PortOf, name: str) -> None:
    port = port_of("cors_prometheus")
    check(CASES["cors_predict"], port)

    answer = check(CASES[name], port)

    if answer.status == 200:
        assert b':tensorflow:serving:request_count{model_name="half_plus_two",status="OK"}' in answer.body


def add_version(models: Path, base: Path, version: int, broken: bool = False) -> None:
    """Put a version of the model `dynamic` under a base path, complete when it appears."""
    partial = base.parent / f"partial-{version}"
    shutil.copytree(models / "dynamic" / "1", partial)
    if broken:
        (partial / "saved_model.pb").write_bytes(b"this is no proto")
    partial.rename(base / str(version))


def state(port: int, model: str, version: int) -> str | None:
    answer = send(port, f"GET /v1/models/{model} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
    statuses = json.loads(answer.body).get("model_version_status", [])
    return next((entry["state"] for entry in statuses if entry["version"] == str(version)), None)


def test_new_and_removed_versions_are_reported_as_recorded(
    models: Path, start_server: Callable[..., Any], tmp_path: Path
) -> None:
    base = tmp_path / "dynamic"
    base.mkdir()
    add_version(models, base, 1)
    server = start_server("--model_name=dynamic", f"--model_base_path={base}", rest=True)
    port = server.rest_port
    check(CASES["dyn_status_before"], port)

    add_version(models, base, 2)
    server.wait_for(lambda: state(port, "dynamic", 1) == "END", "version 1 to be unloaded")
    for name in ("dyn_status_v1", "dyn_predict_v1_unloaded", "dyn_metadata_v1_unloaded"):
        check(CASES[name], port)

    add_version(models, base, 3, broken=True)
    server.wait_for(lambda: state(port, "dynamic", 3) == "LOADING", "version 3 to be tried")
    for name in ("dyn_status_bad_v3", "dyn_predict_bad_v3", "dyn_metadata_bad_v3"):
        check(CASES[name], port)
    server.stop()


def without_load_error(body: bytes) -> Any:
    """A status with the reason of version 3's failure taken out: it depends on how the files are broken."""
    document = json.loads(body)
    for entry in document["model_version_status"]:
        if entry["version"] == "3":
            assert entry["status"].pop("error_code") != "OK"
            assert entry["status"].pop("error_message")
    return document


def test_a_version_that_cannot_load_is_reported_as_recorded(
    models: Path, start_server: Callable[..., Any], tmp_path: Path
) -> None:
    base = tmp_path / "dynamic"
    base.mkdir()
    add_version(models, base, 1)
    server = start_server(
        "--model_name=dynamic", f"--model_base_path={base}", "--max_num_load_retries=0", rest=True
    )
    port = server.rest_port

    def check_status(name: str) -> None:
        answer = send(port, request_bytes(CASES[name], port))
        assert without_load_error(answer.body) == without_load_error(recorded_body(CASES[name]))

    add_version(models, base, 3, broken=True)
    server.wait_for(lambda: state(port, "dynamic", 3) == "END", "version 3 to fail")
    check_status("noretry_status")
    check_status("noretry_status_v3")
    for name in ("noretry_predict", "noretry_predict_v3", "noretry_metadata_v3"):
        check(CASES[name], port)

    shutil.rmtree(base / "3")
    check_status("noretry_status_removed")
    check(CASES["noretry_predict"], port)

    shutil.rmtree(base / "1")
    server.wait_for(lambda: state(port, "dynamic", 1) == "END", "version 1 to be unloaded")
    check_status("noretry_status_all_removed")
    server.stop()
