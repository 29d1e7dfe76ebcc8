"""kill -9 of every process under load, draining, and what the endpoint says of itself meanwhile."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from support.arrays import NPY, SUMS, sent_on
from support.load import Load
from support.models import built_models
from support.stack import RunningStack
from tfsd.plan import ModelServer
from tfsd.run_dir import RunDir

CSV = "1.0\n+2.0\n"  # goes through a worker: JSON writes no plus
ROW = "1.0,2.0\n"  # goes straight to the model server, as JSON
JSON = '{"instances": [1.0, 2.0, 5.0]}'  # goes straight to the model server
SLOW_HANDLER = """
import ctypes, json, os, time

def handler(data, context):
    asked = json.loads(data.read())
    while "stuck" in asked:  # nothing else runs in this process, as if it computed, but others have the CPU
        ctypes.CDLL(None).usleep(100_000)
    while "until" in asked and not os.path.exists(asked["until"]):
        time.sleep(0.05)
    time.sleep(asked.get("seconds", 0))
    return "done", "text/plain"
"""

LATE_SERVER = """#!/bin/sh
case "$*" in
    *rest_api_port*) sleep 3 ;;
esac
exec {binary} "$@"
"""
HELD_SERVER = """#!/bin/sh
while [ -e {hold} ]; do sleep 0.1; done
exec {binary} "$@"
"""
HOLD = "hold"  # the file in a stack's directory that keeps model servers from starting


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its requests take 100 ms: whatever happens, it happens to most of those that are asked."""
    directory = tmp_path_factory.mktemp("reliability")
    (directory / "half_plus_two").symlink_to(built_models("tuner") / "waiting")
    return directory


@pytest.fixture(scope="module")
def stack(
    model_dir: Path, quick_model_server: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    """Its model server takes as long to start as TensorFlow takes to load, but no CPU."""
    binary = tmp_path_factory.mktemp("slow") / "model_server"
    binary.write_text(LATE_SERVER.format(binary=quick_model_server))
    binary.chmod(0o755)
    environ = {"SAGEMAKER_TFS_BINARY": str(binary), "SAGEMAKER_MODEL_SERVER_WORKERS": "2"}
    with RunningStack(tmp_path_factory.mktemp("stack"), model_dir, environ) as running:
        yield running


@pytest.fixture(scope="module")
def two_instances(
    model_dir: Path, quick_model_server: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    directory = tmp_path_factory.mktemp("stack")
    binary = directory / "model_server"
    binary.write_text(HELD_SERVER.format(hold=directory / HOLD, binary=quick_model_server))
    binary.chmod(0o755)
    environ = {
        "SAGEMAKER_TFS_BINARY": str(binary),
        "SAGEMAKER_TFS_INSTANCE_COUNT": "2",
        "SAGEMAKER_TFS_NGINX_LOGLEVEL": "info",
    }
    with RunningStack(directory, model_dir, environ) as running:
        yield running


def kill_and_wait(stack: RunningStack, program: str) -> None:
    """kill -9 a program and wait until supervisord has it running again."""
    before = stack.kill(program)
    stack.wait_for(lambda: stack.pid(program) not in (0, before), 60, f"restarted: {program}")


def wait_for_a_beat(stack: RunningStack, program: str) -> None:
    """Until a worker beats: a control that starts trusts no heartbeat that an earlier process of the worker left."""
    file = RunDir(stack.run_dir).heartbeat(program)

    def beaten() -> float:
        return file.stat().st_mtime if file.exists() else 0.0

    before = beaten()
    stack.wait_for(lambda: beaten() > before, 30, "beating")


def refuses_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def nginx_workers(stack: RunningStack) -> set[int]:
    master = f"{stack.run_dir}/nginx.conf"
    masters = {
        pid for pid, command in stack.processes().items() if "nginx: master" in command and master in command
    }
    return {
        pid
        for pid, command in stack.processes().items()
        if "nginx: worker" in command
        and int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) in masters
    }


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(CSV, "text/csv"), (ROW, "text/csv"), (JSON, "application/json"), (sent_on(), NPY)],
    ids=["csv", "row", "json", "array"],
)
def test_killing_workers_loses_no_request(stack: RunningStack, body: str | bytes, content_type: str) -> None:
    attributes = SUMS if content_type == NPY else ""
    with Load(stack.url("/invocations"), body, content_type, attributes=attributes) as load:
        for worker in stack.plan().pools["default"].workers * 2:
            kill_and_wait(stack, worker.program)
            load.wait_for_more()
    load.assert_none_failed()


def test_killing_control_delays_no_invocation_and_fails_no_ping(stack: RunningStack) -> None:
    for worker in stack.plan().pools["default"].workers:
        wait_for_a_beat(stack, worker.program)
    pings = set()
    stop = threading.Event()

    def ping() -> None:
        while not stop.is_set():
            answer = requests.get(stack.url("/ping"), timeout=60)
            pings.add((answer.status_code, answer.text))

    thread = threading.Thread(target=ping)
    thread.start()
    with Load(stack.url("/invocations"), CSV, "text/csv", clients=4) as load:
        for _ in range(3):
            kill_and_wait(stack, "control")
            load.wait_for_more()
        stack.wait_for(lambda: stack.ping().status_code == 200, 60, "healthy")
    stop.set()
    thread.join()
    load.assert_none_failed()
    assert pings == {(200, "")}


def test_a_new_control_that_has_not_heard_of_a_model_server_yet_takes_its_predecessor_s_word(
    stack: RunningStack,
) -> None:
    servers = [stack.serving_pid(server) for server in stack.plan().models["half_plus_two"].servers]
    stack.wait_for(lambda: RunDir(stack.run_dir).healthy.exists(), 30, "noted as healthy")
    for pid in servers:
        os.kill(pid, signal.SIGSTOP)  # as a busy machine does, for a while
    try:
        stack.kill("control")
        answer = requests.get(stack.url("/ping"), timeout=60)
        assert (answer.status_code, answer.text) == (200, "")
    finally:
        for pid in servers:
            os.kill(pid, signal.SIGCONT)


def test_killing_an_nginx_worker_costs_its_own_connections_only(stack: RunningStack) -> None:
    clients = 8
    with Load(stack.url("/invocations"), CSV, "text/csv", clients) as load:
        os.kill(min(nginx_workers(stack)), signal.SIGKILL)
        load.wait_for_more(100)
    lost = sum(count for outcome, count in load.outcomes.items() if outcome != 200)
    assert lost <= clients, load.failures
    assert set(load.outcomes) <= {200, "ConnectionError"}, load.failures


def test_nginx_master_comes_back_without_a_fight_over_the_port(stack: RunningStack) -> None:
    before = nginx_workers(stack)
    clients = 8
    with Load(stack.url("/invocations"), CSV, "text/csv", clients) as load:
        kill_and_wait(stack, "nginx")
        load.wait_for_more(100)
        stack.wait_for(lambda: not before & stack.processes().keys(), 30, "rid of the old workers")
        load.wait_for_more(100)
    # a worker that leaves closes idle kept-alive connections, which a client may be about to use
    assert set(load.outcomes) <= {200, "ConnectionError"}, load.failures
    assert load.outcomes["ConnectionError"] <= clients
    assert nginx_workers(stack)
    assert "Address already in use" not in stack.log_text()


def test_requests_wait_for_a_model_server_that_is_restarted(stack: RunningStack) -> None:
    server = stack.plan().models["half_plus_two"].servers[0].program
    with (
        Load(stack.url("/invocations"), JSON, clients=4) as direct,
        Load(stack.url("/invocations"), CSV, "text/csv", clients=4) as converted,
        Load(stack.url("/invocations"), ROW, "text/csv", clients=4) as row,
        Load(stack.url("/invocations"), sent_on(), NPY, clients=4, attributes=SUMS) as array,
    ):
        stack.kill(server)
        for load in (direct, converted, row, array):
            load.wait_for_more()
    for load in (direct, converted, row, array):
        load.assert_none_failed()
    assert "which nginx sends again" in stack.log_text()
    stack.wait_for(lambda: stack.ping().status_code == 200, 30, "healthy")


def test_two_instances_share_the_load_and_either_may_die(two_instances: RunningStack) -> None:
    stack = two_instances
    servers = stack.plan().models["half_plus_two"].servers
    with Load(stack.url("/invocations"), JSON) as direct, Load(stack.url("/invocations"), CSV, "text/csv"):
        direct.wait_for_more(50)
        stack.wait_for(lambda: has_answered(stack, servers), 30, "answered by both instances")
    with (
        Load(stack.url("/invocations"), JSON, clients=4) as direct,
        Load(stack.url("/invocations"), CSV, "text/csv", clients=4) as converted,
        Load(stack.url("/invocations"), ROW, "text/csv", clients=4) as row,
    ):
        for server in servers:
            (stack.directory / HOLD).touch()
            stack.kill(server.program)
            for load in (direct, converted, row):
                load.wait_for_more(50)
            (stack.directory / HOLD).unlink()
            stack.wait_for(lambda server=server: answers(server.rest_port), 60, f"{server.program} back")
    for load in (direct, converted, row):
        load.assert_none_failed()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, as of `stat` in proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_waiting_for_a_stop_takes_no_cpu(two_instances: RunningStack) -> None:
    stack = two_instances
    assert stack.process
    program = stack.plan().models["half_plus_two"].servers[0].program
    pid = stack.pid(program)
    os.kill(pid, signal.SIGSTOP)
    waiting = threading.Thread(target=stack.ctl, args=("restart", program))
    waiting.start()
    try:
        stack.wait_for(lambda: stack.state(program) == "STOPPING", 30, "stopping")
        began, before = time.monotonic(), cpu_seconds(stack.process.pid)
        with Load(stack.url("/invocations"), JSON) as load:
            load.wait_for_more(200)
        used, passed = cpu_seconds(stack.process.pid) - before, time.monotonic() - began
    finally:
        os.kill(pid, signal.SIGCONT)
        waiting.join()
    assert used < passed / 4, f"supervisord took {used} s of CPU in {passed} s"
    stack.wait_for(lambda: stack.state(program) == "RUNNING" and stack.ping().ok, 60, "back")


def test_requests_wait_while_both_instances_are_gone(two_instances: RunningStack) -> None:
    """kill -9 of one, and of the other before the first is back: there is time until the request's limit."""
    stack = two_instances
    with (
        Load(stack.url("/invocations"), JSON, clients=4) as direct,
        Load(stack.url("/invocations"), CSV, "text/csv", clients=4) as converted,
    ):
        for server in stack.plan().models["half_plus_two"].servers:
            stack.kill(server.program)
        for load in (direct, converted):
            load.wait_for_more()
    direct.assert_none_failed()
    converted.assert_none_failed()


def test_both_instances_gone_for_longer_than_the_limit_is_a_503(
    model_dir: Path, quick_model_server: Path, tmp_path: Path
) -> None:
    """kill -9 of one, and of the other before the first is back, which neither is until the test says so."""
    hold = tmp_path / HOLD
    binary = tmp_path / "model_server"
    binary.write_text(HELD_SERVER.format(hold=hold, binary=quick_model_server))
    binary.chmod(0o755)
    environ = {
        "SAGEMAKER_TFS_BINARY": str(binary),
        "SAGEMAKER_TFS_INSTANCE_COUNT": "2",
        "SAGEMAKER_MODEL_SERVER_TIMEOUT": "2",
    }
    with RunningStack(tmp_path / "stack", model_dir, environ) as stack:
        servers = stack.plan().models["half_plus_two"].servers
        assert len(servers) == 2
        hold.touch()
        for server in servers:
            stack.kill(server.program)
        stack.wait_for(lambda: all(refuses_connections(server.rest_port) for server in servers), 60, "gone")
        for body, content_type in ((CSV, "text/csv"), (ROW, "text/csv"), (JSON, "application/json")):
            answer = stack.invoke(body, content_type)
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
            told = "No model server of 'half_plus_two' answered within the request's time limit"
            assert told in answer.json()["error"]
            assert answer.elapsed.total_seconds() > 1  # it was waited for
        hold.unlink()
        stack.wait_for(lambda: stack.invoke(JSON).status_code == 200, 60, "served again")
        assert stack.invoke(CSV, "text/csv").status_code == 200


def has_answered(stack: RunningStack, servers: Sequence[ModelServer]) -> bool:
    """Whether each model server counts requests, by its own counters on /metrics."""
    metrics = requests.get(stack.url("/metrics"), timeout=10).text
    counted = [rf'^\S*request_count\S*{server.program}"\S* [1-9]' for server in servers]
    return all(re.search(pattern, metrics, re.M) for pattern in counted)


def answers(rest_port: int) -> bool:
    return requests.get(f"http://127.0.0.1:{rest_port}/v1/models/half_plus_two", timeout=5).status_code == 200


def probes(stack: RunningStack) -> dict[str, int]:
    """What a cluster's three probes get."""
    paths = ("/livez", "/readyz", "/startupz")
    return {path: requests.get(stack.url(path), timeout=60).status_code for path in paths}


def test_ping_tells_that_the_model_server_is_gone(stack: RunningStack) -> None:
    server = stack.plan().models["half_plus_two"].servers[0].program
    stack.stop_program(server)
    try:
        stack.wait_for(lambda: stack.ping().status_code == 503, 60, "unhealthy")
        assert "half_plus_two" in stack.ping().json()["error"]
        assert probes(stack) == {"/livez": 200, "/readyz": 503, "/startupz": 200}
    finally:
        stack.start_program(server)
    stack.wait_for(lambda: stack.ping().status_code == 200, 60, "healthy")


@pytest.mark.parametrize("port", ["rest_port", "grpc_port"])
def test_a_model_server_whose_port_is_taken_gets_another(stack: RunningStack, port: str) -> None:
    before = stack.plan().models["half_plus_two"].servers[0]
    stack.stop_program(before.program)
    with socket.create_server(("127.0.0.1", getattr(before, port))):
        stack.start_program(before.program)
        stack.wait_for(lambda: stack.plan().models["half_plus_two"].servers[0] != before, 60, "moved")
        stack.wait_for(lambda: stack.ping().status_code == 200, 60, "healthy")
        for body, content_type in ((CSV, "text/csv"), (JSON, "application/json")):
            assert stack.invoke(body, content_type).status_code == 200
        stack.wait_for(lambda: route_of_json(stack) == "direct", 60, "straight to the model server")


def route_of_json(stack: RunningStack) -> str:
    """Which way a request takes that a model server understands, by the access log."""
    request_id = os.urandom(8).hex()
    stack.invoke(JSON, X_Amzn_SageMaker_Inference_Id=request_id)
    logged = rf"route=(\S+) .* id={request_id} "
    stack.wait_for(lambda: re.search(logged, stack.log_text()), 60, "logged")
    found = re.search(logged, stack.log_text())
    assert found
    return found[1]


def test_a_model_server_that_stays_away_is_a_503(
    model_dir: Path, quick_model_server: Path, tmp_path: Path
) -> None:
    environ = {"SAGEMAKER_MODEL_SERVER_TIMEOUT": "2", "SAGEMAKER_TFS_BINARY": str(quick_model_server)}
    with RunningStack(tmp_path, model_dir, environ) as stack:
        server = stack.plan().models["half_plus_two"].servers[0].program
        stack.stop_program(server)
        for body, content_type in ((CSV, "text/csv"), (JSON, "application/json")):
            answer = stack.invoke(body, content_type)
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert "half_plus_two" in answer.json()["error"]


def test_stopping_finishes_what_is_in_flight(models: Path, quick_model_server: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "half_plus_two").symlink_to(models / "half_plus_two")
    (model / "code").mkdir()
    (model / "code" / "inference.py").write_text(SLOW_HANDLER)
    answers: list[requests.Response] = []
    environ = {"SAGEMAKER_TFS_BINARY": str(quick_model_server)}
    with RunningStack(tmp_path / "stack", model, environ) as stack:
        threads = [
            threading.Thread(
                target=lambda: answers.append(requests.post(stack.url("/invocations"), '{"seconds": 18}'))
            )
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        in_flight = 'tfsd_requests_in_flight{model="half_plus_two",route="worker"} 6.0'
        stack.wait_for(
            lambda: in_flight in requests.get(stack.url("/metrics"), timeout=10).text, 30, "in flight"
        )
        assert stack.process
        drain = [sys.executable, "-m", "tfsd.start.serve", "--run-dir", str(stack.run_dir), "--drain", "0"]
        subprocess.run(drain, check=True, env=stack.environ)
        assert probes(stack) == {"/livez": 200, "/readyz": 503, "/startupz": 200}
        stack.wait_for(
            lambda: stack.invoke('{"seconds": 0}').headers["Connection"] == "close", 30, "closing connections"
        )
        stack.process.send_signal(signal.SIGTERM)
        stack.wait_for(lambda: refuses_connections(stack.port), 30, "closed")
        assert not answers  # the port closes while they are still being worked on
        assert stack.stop() == 0
        for thread in threads:
            thread.join()
    assert [answer.status_code for answer in answers] == [200] * 6


def test_stopping_drains_after_workers_were_killed_for_being_stuck(
    models: Path, quick_model_server: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    (model / "code").mkdir(parents=True)
    (model / "half_plus_two").symlink_to(models / "half_plus_two")
    (model / "code" / "inference.py").write_text(SLOW_HANDLER)
    released = tmp_path / "released"
    environ = {
        "SAGEMAKER_TFS_BINARY": str(quick_model_server),
        "SAGEMAKER_MODEL_SERVER_TIMEOUT": "8",
        "SAGEMAKER_GUNICORN_WORKERS": "2",
    }

    with RunningStack(tmp_path / "stack", model, environ) as stack, ThreadPoolExecutor(10) as pool:

        def invoke(body: str) -> int:
            return requests.post(stack.url("/invocations"), body, timeout=60).status_code

        workers = [f"worker-default-{number}" for number in (0, 1)]
        beats = [RunDir(stack.run_dir).heartbeat(worker) for worker in workers]
        stack.wait_for(lambda: all(beat.exists() for beat in beats), 60, "up")  # else one gets both requests
        before = {stack.pid(worker) for worker in workers}
        stuck = [pool.submit(invoke, '{"stuck": true}') for _ in range(2)]
        stack.wait_for(lambda: not before & {0, *map(stack.pid, workers)}, 90, "killed")
        assert not {200} & {request.result() for request in stuck}
        stack.wait_for(lambda: stack.ping().status_code == 200, 60, "healthy")
        held = [pool.submit(invoke, json.dumps({"until": str(released)})) for _ in range(8)]
        in_flight = 'tfsd_requests_in_flight{model="half_plus_two",route="worker"} 8.0'
        stack.wait_for(
            lambda: in_flight in requests.get(stack.url("/metrics"), timeout=10).text, 30, "in flight"
        )
        assert stack.process
        stack.process.send_signal(signal.SIGTERM)
        stack.wait_for(lambda: refuses_connections(stack.port), 30, "closed")
        assert not any(request.done() for request in held)
        released.touch()
        assert stack.stop() == 0
        assert [request.result() for request in held] == [200] * 8
