"""A multi-model endpoint when things die, run short, or change under load."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from support.arrays import NPY, SUMS, sent_on
from support.load import Load
from support.models import built_models
from support.multi_model import MultiModelStack, StartMultiModelStack
from tfsd.control.models.reload import reload
from tfsd.stack.multi_model import models_text

HANDLER = """
import requests

def handler(data, context):
    answer = requests.post(context.rest_uri, data=data.read())
    return answer.content, "application/json"
"""
SLOW_IMPORT = """
import time
time.sleep(3)

def handler(data, context):
    return "slow", "text/plain"
"""
BODY = '{"instances": [1.0]}'
KILLED = """#!/bin/sh
case "$*" in
    *model-huge*) kill -9 $$ ;;
esac
exec {binary} "$@"
"""


@pytest.fixture(scope="module")
def stack(start_multi_model: StartMultiModelStack) -> MultiModelStack:
    return start_multi_model(SAGEMAKER_MODEL_SERVER_WORKERS="2")


@pytest.fixture
def two(stack: MultiModelStack, tmp_path: Path) -> Iterator[MultiModelStack]:
    """The stack with two models, and no others before and after: `plain`, and `coded` with a handler.

    Their requests take 100 ms: whatever happens, it happens to most of those that are asked.
    """
    for name, code in (("plain", None), ("coded", HANDLER)):
        if name not in stack.names():
            waiting = built_models("tuner") / "waiting"
            stack.loaded(name, stack.lay(f"{tmp_path.name}/{name}", waiting, code))
    yield stack
    for name in {*stack.names()} - {"plain", "coded"}:
        stack.unload(name)


def kill_and_wait(stack: MultiModelStack, program: str) -> None:
    before = stack.kill(program)
    stack.wait_for(lambda: stack.pid(program) not in (0, before), 20, f"restarted: {program}")


def test_killing_control_loses_nothing(two: MultiModelStack, models: Path) -> None:
    with Load(two.invoke_url("plain"), BODY, clients=2) as load:
        for _ in range(2):
            kill_and_wait(two, "control")
            load.wait_for_more()
            assert two.names() == ["coded", "plain"]
            assert two.load("plain", two.get("plain").json()["modelUrl"]).status_code == 409
        assert two.unload("coded").status_code == 200
        two.loaded("third", two.lay("killed/third", models / "half_plus_two"))
        assert two.ask("third").status_code == 200
    load.assert_none_failed()
    assert two.trace_of("coded") == set()


def test_killing_a_model_server_hurts_its_model_only(two: MultiModelStack) -> None:
    with Load(two.invoke_url("plain"), BODY, clients=2) as others:
        two.kill("model-coded")
        statuses = set()

        def back() -> bool:
            answer = two.ask("coded")
            statuses.add(answer.status_code)
            assert answer.status_code == 200 or answer.headers["Retry-After"], answer.text
            return answer.status_code == 200

        two.wait_for(back, 30, "back")
        others.wait_for_more()
    others.assert_none_failed()
    assert statuses <= {200, 503}
    two.kill("model-plain")
    assert two.ping().status_code == 200
    two.wait_for(lambda: two.ask("plain").status_code == 200, 30, "back")


def test_killing_a_model_server_that_is_sent_a_body_as_it_comes(two: MultiModelStack) -> None:
    with Load(two.invoke_url("plain"), sent_on(), NPY, clients=2, attributes=SUMS) as load:
        two.kill("model-plain")
        load.wait_for_more(5)
    assert load.outcomes.keys() <= {200, 503}, load.failures


@pytest.mark.parametrize("name", ["plain", "coded"])
def test_killing_workers_loses_no_request(two: MultiModelStack, name: str) -> None:
    plan = two.plan()
    workers = plan.pools[plan.models[name].pool].workers
    with Load(two.invoke_url(name), BODY, clients=4) as load:
        for worker in workers:
            kill_and_wait(two, worker.program)
            load.wait_for_more()
    load.assert_none_failed()


def test_unload_and_reload_under_load(two: MultiModelStack) -> None:
    urls = {name: two.get(name).json()["modelUrl"] for name in ("plain", "coded")}
    with (
        Load(two.invoke_url("plain"), BODY, clients=2, pause=0.03) as plain,
        Load(two.invoke_url("coded"), BODY, clients=2, pause=0.03) as coded,
    ):
        for _ in range(3):
            for name, url in urls.items():
                assert two.unload(name).status_code == 200
                assert two.ask(name).status_code == 404
                two.loaded(name, url)
                assert two.ask(name).status_code == 200
            plain.wait_for_more()
            coded.wait_for_more()
    for load in (plain, coded):
        assert set(load.outcomes) <= {200, 404}, [text for text in load.failures if "404" not in text][:5]


def test_control_restarted_during_a_load(two: MultiModelStack, models: Path) -> None:
    """nginx sends the load again when control is back: it is cleaned up after and done anew."""
    url = two.lay("interrupted", models / "half_plus_two", SLOW_IMPORT)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(two.load("interrupted", url)))
    thread.start()
    two.wait_for(lambda: two.state("model-interrupted") == "RUNNING", 30, "loading")

    kill_and_wait(two, "control")

    assert two.ask("plain").status_code == 200
    thread.join(60)
    assert [answer.status_code for answer in answers] == [200], two.log_tail()
    assert two.ask("interrupted").text == "slow"
    assert two.names() == ["coded", "interrupted", "plain"]
    assert two.ctl("status").count("model-interrupted") == 1


def test_control_restarted_during_a_load_that_nobody_waits_for(two: MultiModelStack, models: Path) -> None:
    url = two.lay("abandoned", models / "half_plus_two", SLOW_IMPORT.replace("(3)", "(600)"))
    connection = two.start_load("abandoned", url)
    two.wait_for(lambda: two.state("model-abandoned") == "RUNNING", 30, "loading")
    control = two.pid("control")
    os.kill(control, signal.SIGSTOP)  # so that it does not see the client go
    connection.close()
    os.kill(control, signal.SIGKILL)

    two.wait_for(lambda: two.trace_of("abandoned") == set(), 30, "cleaned up")
    assert not any("abandoned" in command for command in two.processes().values())
    helpers = [path for path in Path("/proc").glob("[0-9]*/cmdline") if url.encode() in _read(path)]
    assert helpers == []
    assert two.names() == ["coded", "plain"]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_control_restarted_during_an_unload(two: MultiModelStack, models: Path) -> None:
    code = "import time\ndef handler(data, context):\n    time.sleep(3)\n    return 'slept', 'text/plain'\n"
    two.loaded("slow", two.lay("unloading", models / "half_plus_two", code))
    answers = []
    thread = threading.Thread(target=lambda: answers.append(two.ask("slow")))
    thread.start()
    metric = 'tfsd_requests_in_flight{model="slow",route="worker"} 1.0'
    two.wait_for(lambda: metric in requests.get(two.url("/metrics"), timeout=10).text, 20, "in flight")
    unloading = threading.Thread(target=two.unload, args=("slow",))
    unloading.start()
    two.wait_for(lambda: two.get("slow").status_code == 404, 10, "on its way out")

    kill_and_wait(two, "control")

    thread.join()
    unloading.join()
    assert [answer.text for answer in answers] == ["slept"]
    two.wait_for(lambda: two.trace_of("slow") == set(), 30, "gone")
    assert two.names() == ["coded", "plain"]


def test_too_few_ports_and_a_model_server_that_the_kernel_kills(
    start_multi_model: StartMultiModelStack, models: Path, quick_model_server: Path, tmp_path: Path
) -> None:
    low = _free_range(4)
    binary = tmp_path / "model_server"
    binary.write_text(KILLED.format(binary=quick_model_server))
    binary.chmod(0o755)
    stack = start_multi_model(SAGEMAKER_SAFE_PORT_RANGE=f"{low}-{low + 3}", SAGEMAKER_TFS_BINARY=str(binary))
    before = stack.traces()
    url = stack.lay("m", models / "half_plus_two")

    killed = stack.load("huge", url)

    assert (killed.status_code, "SIGKILL" in killed.json()["error"]) == (507, True)
    assert stack.traces() == before
    stack.loaded("a", url)
    stack.loaded("b", url)
    refused = stack.load("c", url)
    assert (refused.status_code, "ports" in refused.json()["error"]) == (507, True)
    assert stack.unload("a").status_code == 200
    stack.loaded("c", url)
    assert stack.ask("c").status_code == 200
    assert stack.names() == ["b", "c"]


def test_a_port_that_is_lost_before_the_first_start(
    start_multi_model: StartMultiModelStack, models: Path
) -> None:
    """supervisord is stopped for a moment, so that the port can be taken between its choice and the start."""
    low = _free_range(6)
    stack = start_multi_model(SAGEMAKER_SAFE_PORT_RANGE=f"{low}-{low + 5}")
    url = stack.lay("m", models / "half_plus_two")
    assert stack.process
    os.kill(stack.process.pid, signal.SIGSTOP)
    with ThreadPoolExecutor() as pool:
        loading = pool.submit(stack.load, "m", url)
        stack.wait_for((stack.run_dir / "programs/model-m.conf").exists, 20, "planned")
        with socket.create_server(("127.0.0.1", low)):
            os.kill(stack.process.pid, signal.SIGCONT)
            assert loading.result().status_code == 200
            assert stack.ask("m").json() == {"predictions": [3.5]}
    [server] = stack.plan().models["m"].servers
    assert low not in (server.rest_port, server.grpc_port)


def _free_range(count: int) -> int:
    """The first of `count` neighbouring ports that nobody listens on."""
    low = 20_000 + os.getpid() % 10_000
    while any(_taken(port) for port in range(low, low + count)):
        low += count
    return low


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return True
    return False


def test_too_little_memory(start_multi_model: StartMultiModelStack, models: Path) -> None:
    stack = start_multi_model(SAGEMAKER_TFS_MEMORY_LIMIT_MB="50")
    before = stack.traces()

    answer = stack.load("m", stack.lay("m", models / "half_plus_two"))

    assert (answer.status_code, "not enough memory" in answer.json()["error"]) == (507, True)
    assert stack.traces() == before
    assert stack.names() == []


def test_models_that_share_model_servers(start_multi_model: StartMultiModelStack, models: Path) -> None:
    stack = start_multi_model(SAGEMAKER_TFS_MODELS_PER_PROCESS="3")
    before = stack.traces()
    urls = {f"m{number}": stack.lay(f"m{number}", models / "half_plus_two") for number in range(7)}
    urls["m3"] = stack.lay("coded", models / "half_plus_three", HANDLER)
    broken = stack.models_dir / "broken" / "model" / "net" / "1"
    broken.mkdir(parents=True)
    (broken / "saved_model.pb").write_bytes(b"junk")
    with ThreadPoolExecutor(4) as pool:
        assert {answer.status_code for answer in pool.map(stack.load, urls, urls.values())} == {200}
    hosts = {model.servers[0].program for model in stack.plan().models.values()}
    assert 3 <= len(hosts) <= 5
    with Load(stack.invoke_url("m0"), BODY, clients=2) as load:
        refused = stack.load("broken", str(broken.parents[1]))
        assert (refused.status_code, "broken" in refused.json()["error"]) == (400, True), refused.text
        assert stack.unload("m1").status_code == 200
        assert stack.ask("m1").status_code == 404
        stack.loaded("m1", urls["m1"])
        kill_and_wait(stack, "control")
        assert stack.unload("m2").status_code == 200
        stack.loaded("m2", urls["m2"])
        load.wait_for_more()
    load.assert_none_failed()
    assert stack.ask("m3").json() == {"predictions": [3.5]}
    host = stack.plan().models["m5"].servers[0].program
    stack.kill(host)
    for name in urls:
        stack.wait_for(lambda name=name: stack.ask(name).status_code == 200, 30, f"{name} is back")
    assert stack.names() == sorted(urls)
    with ThreadPoolExecutor(4) as pool:
        assert {answer.status_code for answer in pool.map(stack.unload, urls)} == {200}
    assert stack.traces() == before


@pytest.mark.parametrize("place", ["models/code", "code"])
def test_universal_code_serves_models_without_their_own(
    quick_model_server: Path, models: Path, tmp_path_factory: pytest.TempPathFactory, place: str
) -> None:
    environ = {"SAGEMAKER_TFS_BINARY": str(quick_model_server)}
    stack = MultiModelStack(tmp_path_factory.mktemp("stack"), environ)
    code = stack.models_dir.parent / place
    code.mkdir()
    (code / "inference.py").write_text(
        "def handler(data, context):\n    return 'universal ' + context.model_name, 'text/plain'\n"
    )
    with stack:
        stack.loaded("plain", stack.lay("plain", models / "half_plus_two"))
        stack.loaded("coded", stack.lay("coded", models / "half_plus_two", HANDLER))
        assert stack.ask("plain").text == "universal plain"
        assert stack.ask("coded").json() == {"predictions": [3.5]}
        assert "code" not in stack.names()


@pytest.fixture(scope="module")
def impatient(start_multi_model: StartMultiModelStack) -> MultiModelStack:
    """Two models share a process; what is silent for some seconds is restarted."""
    return start_multi_model(SAGEMAKER_TFS_MODELS_PER_PROCESS="2", SAGEMAKER_MODEL_SERVER_TIMEOUT="1")


def test_a_hung_worker_of_a_model_is_restarted(impatient: MultiModelStack, models: Path) -> None:
    stack = impatient
    stack.loaded("m", stack.lay("m", models / "half_plus_two", HANDLER))
    worker, beat = stack.pid("worker-m"), stack.run_dir / "heartbeats" / "worker-m"
    stack.wait_for(beat.exists, 30, "beating")
    os.kill(worker, signal.SIGSTOP)
    stack.wait_for(lambda: stack.pid("worker-m") not in (0, worker), 40, "restarted")
    stack.wait_for(lambda: stack.ask("m").status_code == 200, 20, "back")
    assert stack.unload("m").status_code == 200


def test_a_model_server_that_runs_and_serves_nothing_is_restarted(
    impatient: MultiModelStack, models: Path
) -> None:
    """Two models on one process: one is taken away from outside, then the process is stopped."""
    stack = impatient
    urls = {name: stack.lay(name, models / "half_plus_two") for name in "ab"}
    for name, url in urls.items():
        stack.loaded(name, url)
    [server] = stack.plan().models["a"].servers

    def served() -> bool:
        return all(stack.ask(name).status_code == 200 for name in "ab")

    reload(server.grpc_target, models_text([stack.plan().models["a"]]), 20)
    assert stack.ask("b").status_code != 200
    stack.wait_for(served, 60, "put back")

    stack.stop_program(server.program)
    with socket.create_server(("127.0.0.1", server.rest_port)):
        stack.wait_for(lambda: stack.plan().models["a"].servers[0] != server and served(), 60, "moved")
    assert stack.plan().models["a"].servers == stack.plan().models["b"].servers

    before = stack.pid(server.program)
    [moved] = stack.plan().models["a"].servers
    os.kill(stack.serving_pid(moved), signal.SIGSTOP)
    stack.wait_for(served, 60, "restarted, having been stopped")
    assert stack.pid(server.program) != before
