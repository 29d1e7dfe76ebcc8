"""gRPC from a handler on a whole stack: `context.channel`, channels of the handler's own, restarts, large messages."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from support.code import add_model
from support.load import Load
from support.models import built_models
from support.stack import RunningStack

SCRIPT = Path(__file__).parents[1] / "resources" / "legacy" / "scripts" / "grpc_handler.py"
LARGE = 16 * 2**20  # floats: 64 MiB
ONE_WORKER = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1", "SAGEMAKER_MODEL_SERVER_TIMEOUT": "45"}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("grpc")
    add_model(directory, "echo", built_models("legacy") / "echo", SCRIPT)
    return directory


@pytest.fixture(scope="module")
def stack(start_stack: Callable[..., RunningStack], model_dir: Path) -> RunningStack:
    return start_stack(model_dir, **ONE_WORKER)


@pytest.fixture(scope="module")
def two_instances(start_stack: Callable[..., RunningStack], model_dir: Path) -> RunningStack:
    return start_stack(model_dir, SAGEMAKER_TFS_INSTANCE_COUNT="2", **ONE_WORKER)


def ask(stack: RunningStack, **wish: Any) -> requests.Response:
    return stack.invoke(json.dumps(wish))


def answer(stack: RunningStack, **wish: Any) -> Any:
    found = ask(stack, **wish)
    assert found.status_code == 200, found.text
    return found.json()


def model_servers(stack: RunningStack) -> list[str]:
    return [server.program for server in stack.plan().models["echo"].servers]


def test_a_prediction_over_the_context_s_channel(stack: RunningStack) -> None:
    found = answer(stack, count=2)
    assert found["first"] == [1.0, 1.0]
    assert found["ports"] == [str(stack.plan().models["echo"].servers[0].grpc_port)] * 2
    assert answer(stack)["channel"] == found["channel"]


def test_64_megabytes_pass_both_ways(stack: RunningStack) -> None:
    assert min(answer(stack, count=LARGE)["bytes"]) > 64 * 2**20


def test_a_channel_of_the_handler_s_own(stack: RunningStack) -> None:
    assert answer(stack, own_channel=True) == {"sum": 1.0}


@pytest.mark.parametrize("wish", [{"count": 1}, {"own_channel": True}])
def test_a_call_blocks_no_other_request(stack: RunningStack, wish: dict[str, Any]) -> None:
    """The model server stands still until the other request has been answered."""
    answer(stack, **wish)
    pid = listening_process(stack.plan().models["echo"].servers[0].grpc_port)
    waiting: list[requests.Response] = []
    body = json.dumps(wish)
    thread = threading.Thread(
        target=lambda: waiting.append(requests.post(stack.url("/invocations"), body, timeout=60))
    )
    os.kill(pid, signal.SIGSTOP)
    try:
        thread.start()
        assert answer(stack, idle=True) == {"idle": True}
        assert not waiting
    finally:
        os.kill(pid, signal.SIGCONT)
    thread.join(60)
    assert [found.status_code for found in waiting] == [200]


def listening_process(port: int) -> int:
    """The process that listens on the port: of the kernel's table of sockets, and who has them open."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{fields[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if str(link.readlink()) in sockets:
                return int(link.parts[2])
    raise AssertionError(f"nothing listens on {port}")


@pytest.mark.parametrize("clients", [16, 64])
@pytest.mark.parametrize("body", ["{}", '{"own_channel": true}'])
def test_many_calls_at_once_are_all_answered(stack: RunningStack, clients: int, body: str) -> None:
    """The model server stands still until all of them are on their way: then it refuses what exceeds its threads."""
    pid = listening_process(stack.plan().models["echo"].servers[0].grpc_port)
    answer(stack)
    os.kill(pid, signal.SIGSTOP)
    try:
        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            waiting = [
                pool.submit(requests.post, stack.url("/invocations"), body, timeout=60)
                for _ in range(clients)
            ]
            stack.wait_for(lambda: in_flight(stack) == clients, 30, "all under way")
            os.kill(pid, signal.SIGCONT)
            assert {found.result().status_code for found in waiting} == {200}
    finally:
        os.kill(pid, signal.SIGCONT)


def in_flight(stack: RunningStack) -> int:
    beats = [json.loads(path.read_text()) for path in (stack.run_dir / "heartbeats").glob("[!.]*")]
    return sum(sum(beat["in_flight"].values()) for beat in beats)


def test_a_failed_call_is_answered_with_its_http_status(stack: RunningStack) -> None:
    refused = ask(stack, signature="no-such-signature")
    assert refused.status_code == 400
    assert "no-such-signature" in refused.json()["error"]
    assert "Traceback" not in stack.log_text()


def test_the_channel_survives_a_restart_of_the_model_server(stack: RunningStack) -> None:
    before = answer(stack)["channel"]
    (server,) = model_servers(stack)
    with Load(stack.url("/invocations"), "{}", clients=4) as load:
        pid = stack.kill(server)
        stack.wait_for(lambda: stack.pid(server) not in (0, pid), 30, "restarted")
        load.wait_for_more()
    load.assert_none_failed()
    assert answer(stack)["channel"] == before


def test_either_of_two_instances_may_die(two_instances: RunningStack) -> None:
    stack = two_instances
    with Load(stack.url("/invocations"), "{}", clients=4) as load:
        for server in model_servers(stack):
            pid = stack.kill(server)
            load.wait_for_more(50)
            stack.wait_for(lambda: stack.pid(server) not in (0, pid), 30, "restarted")  # noqa: B023
            stack.wait_for(lambda: stack.ping().status_code == 200, 30, "healthy")
    load.assert_none_failed()


def test_a_model_server_that_stays_away_is_waited_for_up_to_the_limit(
    start_stack: Callable[..., RunningStack], model_dir: Path
) -> None:
    stack = start_stack(model_dir, **{**ONE_WORKER, "SAGEMAKER_MODEL_SERVER_TIMEOUT": "2"})
    (server,) = model_servers(stack)
    stack.stop_program(server)
    try:
        assert ask(stack).status_code == 504
    finally:
        stack.start_program(server)
    stack.wait_for(lambda: stack.ping().status_code == 200, 30, "healthy")
    assert answer(stack)["first"] == [1.0]
